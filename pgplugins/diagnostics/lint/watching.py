"""The mode that shows lint every call of a torch function."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pgplugins.core.calls import is_metadata, is_validation
from pgplugins.diagnostics.lint import kinds
from pgplugins.diagnostics.lint.baselines import contains_own, subtract, subtracts_mean
from pgplugins.diagnostics.lint.findings import SATURATED_ACTION
from pgplugins.diagnostics.lint.flow import flow
from pgplugins.diagnostics.lint.memory import Memory
from pgplugins.diagnostics.lint.notes import Atom, Note
from pgplugins.diagnostics.lint.places import Place, caller, users_line
from pgplugins.diagnostics.lint.products import Weight, judge, mark_product
from pgplugins.diagnostics.lint.roots import Roots

# Under torch.func, tensors stand for many and cannot be read.
_transform_level = torch._C._functorch.maybe_current_level
_NO_VALUE = frozenset({"__repr__", "__format__", "__hash__", "__get__", "__deepcopy__"})
_NOTHING = Note()


class Watching(TorchFunctionMode):
    """Keeps notes of tensors, and looks at products and at backward passes."""

    def __init__(self, memory: Memory, roots: Roots) -> None:
        """Watch on behalf of one lint."""
        super().__init__()
        self.memory = memory
        self.roots = roots
        self.inside = 0
        """How many methods of distributions are running: they are not judged."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run ``func``, and note what it has done."""
        kwargs = kwargs or {}
        if func in _BACKWARD:
            return self.roots.run(func, args, kwargs)
        out = func(*args, **kwargs) if kwargs else func(*args)
        if not is_metadata(func) and _transform_level() is None:
            with torch._C.DisableTorchFunction():
                self._observe(func, args, kwargs, out)
        return out

    def _observe(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Any,
    ) -> None:
        name = kinds.plain_name(func)
        memory = self.memory
        if name in kinds.VALUELESS:
            return
        if name in kinds.RANDOM and not self.inside and isinstance(out, Tensor):
            if out.requires_grad:
                return  # a parameter's initial value
            drawn = memory.new_draw(None, 0)
            note = Note(values=drawn.bit, direct=drawn.bit, noise=drawn.bit)
            note.parts = {Atom(out, note): 1.0}
            memory.remember(out, note)
            return
        inputs = [(t, memory.note_of(t)) for t in _tensors((*args, *kwargs.values()))]
        known = any(note is not None for _, note in inputs)
        if name == "setitem":
            out = args[0]
        outs = list(_tensors((out,)))
        if not outs:
            if known and func.__name__ not in _NO_VALUE and not self.inside:
                self._hear([note for _, note in inputs if note is not None])
            return
        if not known:
            if memory.heard and (name in kinds.FROM_PYTHON or name == "setitem"):
                self._from_python(outs[0])
            return
        for result in outs:
            note = flow(name, inputs, args, kwargs, result)
            if name == "setitem" and not isinstance(args[-1], Tensor):
                note.heard |= memory.heard
            if not self.inside:
                self._judge(name, inputs, args, kwargs, result, note)
            if note.shows():
                memory.remember(result, note)
                if result._base is not None and (
                    name == "setitem" or result is args[0]
                ):
                    memory.remember(result._base, note)

    def _hear(self, notes: list[Note]) -> None:
        if is_validation(sys._getframe(2)):
            return
        for note in notes:
            self.memory.heard |= note.values | note.heard

    def _from_python(self, out: Tensor) -> None:
        note = Note(heard=self.memory.heard)
        note.parts = {Atom(out, note): 1.0}
        self.memory.remember(out, note)

    def _judge(
        self,
        name: str,
        inputs: list[tuple[Tensor, Note | None]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Tensor,
        note: Note,
    ) -> None:
        if name in kinds.PRODUCTS or name in kinds.QUOTIENTS:
            self._judge_product(name, inputs, args, out, note)
        elif name in kinds.SUMS and len(inputs) == 2:
            pair = [found for _, found in inputs]
            note.sees = note.sees or contains_own(*pair) or contains_own(*pair[::-1])
            if name == "sub" and pair[0] is not None and pair[1] is not None:
                subtract(pair[0], pair[1], self.memory.all_densities, note)
        elif name in kinds.SUMS and len(inputs) == 1 and self.memory.heard:
            note.sees = note.sees or subtracts_mean(inputs[0][0], out)
        elif name in kinds.CLAMPS:
            first = inputs[0][0]
            note.clamped = bool((first.detach() != out.detach()).any())
        elif name in ("atanh", "arctanh", "log", "log1p"):
            self._judge_inverse(name, inputs[0][1], out)
        if note.stepped:
            place = users_line() if name in kinds.STEPS or not note.path else None
            if place is not None:
                self.roots.note_step(note.stepped, place)

    def _judge_inverse(self, name: str, action: Note | None, out: Tensor) -> None:
        """Look whether tanh is inverted by hand where nothing is left to invert."""
        if action is None or not (action.squashed or name in ("atanh", "arctanh")):
            return
        clamped = action.clamped and name in ("atanh", "arctanh")
        if clamped or not bool(out.detach().isfinite().all()):
            self.roots.report.add(SATURATED_ACTION.at(users_line()))

    def _judge_product(
        self,
        name: str,
        inputs: list[tuple[Tensor, Note | None]],
        args: tuple[Any, ...],
        out: Tensor,
        note: Note,
    ) -> None:
        if not out.requires_grad:
            return
        operands = [a for a in _flat(args) if isinstance(a, (Tensor, Real))]
        if name == "addcmul":
            operands = operands[1:]
        noted = {id(tensor): found for tensor, found in inputs}
        if len(operands) != 2:
            return
        pairs = [operands] if name in kinds.QUOTIENTS else [operands, operands[::-1]]
        place: Place | None = None
        for factor, other in pairs:
            if not isinstance(factor, Tensor):
                continue
            density = noted.get(id(factor))
            if density is None or not density.scores | density.ratios:
                continue
            place = place or caller()
            if place is None:
                return  # a library's own
            weight = self.weight(other, noted.get(id(other)))
            found = judge(self.memory, density, factor, weight, place)
            for suspicion in found:
                self.roots.suspect(out, suspicion)
            attached, held = self.memory.draws_of(density.scores | density.ratios)
            note.stepped &= ~(attached | held)  # the score sees what the path does not
            attached, held = self.memory.draws_of(density.scores)
            moving = (weight.note.values | weight.note.heard) & held
            if moving and not attached and weight.note.parts:
                mark_product(note, out, held, weight.note)
            if found:
                return

    def weight(self, value: object, note: Note | None) -> Weight:
        """Describe what a log-density is multiplied with."""
        tensor = value if isinstance(value, Tensor) else None
        unknown = note is None or (tensor is not None and tensor.requires_grad)
        heard = self.memory.heard if unknown else 0
        return Weight(tensor, note or _NOTHING, heard)


_BACKWARD = {Tensor.backward, torch.autograd.backward, torch.autograd.grad}


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (tuple, list)):
            yield from _flat(value)
        else:
            yield value


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in _flat(values):
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict):
            yield from _tensors(value.values())
