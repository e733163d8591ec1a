"""The memory that compiled code works in, kept from run to run.

Inductor's code asks for scratch memory at every run, which takes a third of the time of
a small step and more of a long rollout's. The same memory serves every run, if what a
run returns is copied before the next.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

from torch import Tensor

_ALLOCATOR, _VIEWER = "empty_strided_cpu", "reinterpret_tensor"
_OURS = "_pgplugins_scratch"
_MOST_BYTES = 16 * 2**20  # more is better given back


class Scratch:
    """What one piece of compiled code allocates, in its order, the same at every run.

    Args:
        names: The globals of the code.
    """

    def __init__(self, names: dict[str, Any]) -> None:
        """Allocate as before until a run has shown what it takes."""
        self._names = names
        self._allocate: Callable[..., Tensor] = names[_ALLOCATOR]
        self._view: Callable[..., Tensor] = names[_VIEWER]
        self.settled = False
        """Whether nothing is left to be found out."""
        self.kept = True
        """Whether the next run may work in the same memory."""
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Start over: a run was interrupted, and nobody knows where."""
        self._made: list[Tensor] = []
        # Of scratch memory; None in the place of what is a view of an input.
        self._views: list[Tensor | None] = []
        self._own: set[int] = set()
        self.settled, self.kept = False, True
        self._names[_ALLOCATOR], self._names[_VIEWER] = self._note, self._note_view

    def _note(self, *what: Any) -> Tensor:
        made = self._allocate(*what)
        self._made.append(made)
        self._own.add(id(made))
        return made

    def _note_view(self, base: Tensor, *what: Any) -> Tensor:
        made = self._view(base, *what)
        own = id(base) in self._own
        self._views.append(made if own else None)
        if own:
            self._own.add(id(made))
        return made

    def settle(self) -> None:
        """Hand out what a whole run has been given to all runs that follow."""
        self.settled = True
        size = sum(tensor.untyped_storage().nbytes() for tensor in self._made)
        self.kept = 0 < size <= _MOST_BYTES
        names, view = self._names, self._view
        names[_ALLOCATOR], names[_VIEWER] = self._allocate, view
        if self.kept:
            again = itertools.cycle(self._made).__next__
            names[_ALLOCATOR] = lambda size, stride, dtype: again()
        if self.kept and self._views:
            known = itertools.cycle(self._views).__next__

            def same(base: Tensor, *what: Any) -> Tensor:
                found = known()
                return view(base, *what) if found is None else found

            names[_VIEWER] = same
        if not self.kept:
            self._made, self._views = [], []


def scratch_of(code: object) -> Scratch | None:
    """Return the scratch memory of compiled code; ``None`` if it cannot be kept.

    Two graphs that are alike share their code, and so its memory.
    """
    function = getattr(code, "__func__", code)
    names = getattr(function, "__globals__", {})
    if not {_ALLOCATOR, _VIEWER} <= names.keys() or not names.get("cpp_fused_0"):
        return None
    if _OURS not in names:
        names[_OURS] = Scratch(names)
    found: Scratch = names[_OURS]
    return found
