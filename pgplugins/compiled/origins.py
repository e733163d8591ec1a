"""Which draws a traced value comes from, and where the program asks for its value."""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from pgplugins.core.calls import is_validation
from pgplugins.errors import CompileError

_LIBRARIES = tuple(
    str(Path(file).parent)
    for file in (torch.__file__, pyro.__file__, str(Path(__file__).parent))
)


class Origins(TorchDispatchMode):
    """Follows the draws through a trace, and refuses to turn a value into a Python one.

    A graph holds one way through the program; a program that asks for values (``if``,
    ``.item()``, ``float()``) may take another at the next call. The state of estimators
    may be asked: it changes between the runs of a graph only, and what it answered is
    kept, so that the graph can be given up when the answer changes.

    Args:
        state: Tensors whose values may be asked for.
    """

    def __init__(self, state: Iterable[Tensor]) -> None:
        """Start without draws."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.answers: list[tuple[Tensor, Any]] = []
        """State that was asked for its value, and the value."""
        self._state = {id(tensor): tensor for tensor in state}
        self._names: dict[int, frozenset[str]] = {}
        # Alive until the end, so that no two tensors have the same identity.
        self._seen: list[Tensor] = []
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}

    def mark(self, name: str, value: Tensor) -> None:
        """Note that a value is the draw of a site."""
        self._note(value, frozenset([name]))

    def names(self, values: Iterable[object]) -> list[str]:
        """Return the sites that values come from."""
        found: set[str] = set()
        for value in values:
            found |= self._names.get(id(value), frozenset())
        return sorted(found)

    def _note(self, value: Tensor, names: frozenset[str]) -> None:
        if names:
            self._names[id(value)] = self._names.get(id(value), frozenset()) | names
            self._seen.append(value)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation, and note where its results come from."""
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            return self._answer(args[0])
        inputs = tree_leaves((args, kwargs))
        if func._schema.is_mutable:
            self._keep(inputs)
        result = func(*args, **kwargs)
        names = frozenset(self.names(inputs))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                if any(isinstance(size, torch.SymInt) for size in value.shape):
                    self._refuse(
                        f"the shape of what {func.overloadpacket.__name__} returns "
                        f"depends on {_from(self.names(inputs))}"
                    )
                self._note(value, names)
        return result

    def _keep(self, values: Iterable[object]) -> None:
        """Keep a copy of what is about to be written to outside of the trace."""
        for value in values:
            outside = isinstance(value, Tensor) and not isinstance(value, FakeTensor)
            if outside and id(value) not in self._kept:
                assert isinstance(value, Tensor)
                with _disable_current_modes():
                    self._kept[id(value)] = value, value.detach().clone()

    def restore(self) -> None:
        """Undo what a trace has written outside: it shows a step, and takes none."""
        with torch.no_grad():
            for value, before in self._kept.values():
                value.copy_(before)
        self._kept.clear()

    def _answer(self, value: Tensor) -> Any:
        known = self._state.get(id(value))
        if known is not None and not isinstance(value, FakeTensor):
            with _disable_current_modes():
                answer = value.item()
            self.answers.append((value, answer))
            return answer
        if _is_checked(sys._getframe()):
            return True
        self._refuse(
            f"the program turns {_from(self.names([value]))} into a Python value "
            "(if, .item(), float())"
        )

    def _refuse(self, what: str) -> NoReturn:
        raise CompileError(
            f"{place(sys._getframe())}{what}, so that it may take another path at "
            "every call, and one graph cannot hold them all. Write torch.where(...) "
            "instead of the branch, or leave pg.compile out."
        )


def _is_checked(frame: FrameType | None) -> bool:
    """Whether a value is asked for only to check what a distribution is given.

    Distributions that were made before the trace check as they did then.
    """
    while frame is not None:
        file = frame.f_code.co_filename
        if "/distributions/" in file.replace("\\", "/"):
            return is_validation(frame)
        if not file.startswith(_LIBRARIES):
            return False
        frame = frame.f_back
    return False


class Marking(Messenger):
    """Tells which values are draws, in a Pyro program that is being traced."""

    def __init__(self, origins: Origins) -> None:
        """Keep whom to tell."""
        super().__init__()
        self._origins = origins

    def _pyro_post_sample(self, msg: Any) -> None:
        if not msg["is_observed"] and isinstance(msg["value"], Tensor):
            self._origins.mark(msg["name"], msg["value"])


def _from(names: Sequence[str]) -> str:
    if not names:
        return "a value"
    what = "site" if len(names) == 1 else "sites"
    return f"a value that comes from {what} {', '.join(map(repr, names))}"


def place(where: FrameType | TracebackType | None) -> str:
    """Say in which line of the user's a frame or an error is, as a message begins."""
    if isinstance(where, TracebackType):
        walked = [(frame, line) for frame, line in traceback.walk_tb(where)]
    else:
        walked = list(traceback.walk_stack(where))[::-1]
    for frame, line in reversed(walked):
        file = frame.f_code.co_filename
        if file.startswith("<") or file.startswith(_LIBRARIES):
            continue
        code = linecache.getline(file, line).strip()
        quoted = f" ({code})" if code else ""
        return f"{Path(file).name}, line {line}{quoted}: "
    return ""
