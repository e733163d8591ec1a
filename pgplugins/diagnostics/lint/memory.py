"""The memory of one lint: notes by tensor, and a bit for each draw and density."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import ref

from torch import Tensor, nn
from torch.distributions import Distribution, Transform
from torch.utils.weak import WeakTensorKeyDictionary

from pgplugins.core.graph import nodes_below
from pgplugins.diagnostics.lint.notes import Bits, Density, Drawn, Note

_MANY = 8192  # bits after which all is forgotten: integers would grow for ever


class Memory:
    """What is known of the tensors of one thread since lint was entered."""

    def __init__(self) -> None:
        """Start without memories."""
        self._notes = WeakTensorKeyDictionary()
        self._leaves = WeakTensorKeyDictionary()
        self._key = f"pgplugins.lint.{id(self)}"
        self.epoch = 1
        self._used = 0
        self._params = 0
        self.drawn: dict[Bits, Drawn] = {}
        self.densities: dict[Bits, Density] = {}
        self.all_densities: Bits = 0
        self.noise: Bits = 0
        """Draws by torch's own functions: what they are added to becomes a sample."""
        self.heard: Bits = 0
        """Draws whose values Python has read."""
        self.gradients: dict[Bits, bool] = {}
        """Whether draws that backward has reached got more than zeros."""

    def note_of(self, tensor: Tensor) -> Note | None:
        """What is known of a tensor; torch functions must be disabled."""
        note: Note | None = self._notes.get(tensor)
        if note is not None and note.epoch != self.epoch:
            note = None
        if not tensor.requires_grad or (note is not None and note.attached):
            return note
        if tensor.is_leaf:
            shown = Note(params=self._leaf(tensor))
        else:
            shown = self._from_graph(tensor)
        if note is not None:  # the result of an autograd.Function: its forward was seen
            shown.values |= note.values
            shown.heard |= note.heard
            shown.direct |= note.direct
            shown.params |= note.params
            shown.parts = note.parts
        self.remember(tensor, shown)
        return shown

    def remember(self, tensor: Tensor, note: Note) -> None:
        """Note where a tensor comes from."""
        note.epoch = self.epoch
        note.attached = tensor.requires_grad
        self._notes[tensor] = note

    def forget(self, tensor: Tensor) -> None:
        """Note that nothing is known of a tensor that has been overwritten."""
        self._notes.pop(tensor, None)

    def mark(self, tensor: Tensor, what: Any) -> None:
        """Leave a mark in the autograd graph, for paths that no function shows."""
        if tensor.grad_fn is not None:
            metadata: Any = tensor.grad_fn.metadata
            metadata.setdefault(self._key, []).append(what)

    def marks_below(self, root: Tensor) -> Iterator[Any]:
        """Yield the marks, and the leaves, that backward from ``root`` would reach."""
        for node in nodes_below(root):
            marks = node.metadata.get(self._key)
            if marks:
                yield from marks
            leaf = getattr(node, "variable", None)
            if leaf is not None:
                yield leaf

    def new_draw(self, law: Distribution | None, params: Bits) -> Drawn:
        """Give a draw its bit."""
        drawn = Drawn(self._bit(), None if law is None else ref(law), params)
        self.drawn[drawn.bit] = drawn
        if law is None:
            self.noise |= drawn.bit
        return drawn

    def new_density(self, drawn: Bits, attached: Bits) -> Density:
        """Give the log-density of some draws its bit."""
        density = Density(self._bit(), drawn, attached)
        self.densities[density.bit] = density
        self.all_densities |= density.bit
        return density

    def draws_of(self, densities: Bits) -> tuple[Bits, Bits]:
        """Return the draws of log-densities: those attached, those held."""
        attached = drawn = 0
        while densities:
            low = densities & -densities
            densities ^= low
            density = self.densities.get(low)
            if density is not None:
                attached |= density.attached
                drawn |= density.drawn
        return attached, drawn & ~attached

    def params_of(self, law: object, depth: int = 4) -> Bits:
        """Return the leaves that the parameters of a distribution depend on."""
        params = 0
        for part in _parts(law):
            if isinstance(part, Tensor):
                note = self.note_of(part)
                params |= note.params if note is not None else 0
            elif isinstance(part, nn.Module) and not isinstance(part, Transform):
                for leaf in part.parameters():
                    params |= self._leaf(leaf)
            elif depth:
                params |= self.params_of(part, depth - 1)
        return params

    def own(self, draw: Bits, law: Distribution, params: Bits) -> bool:
        """Whether a law is the one that a draw came from."""
        drawn = self.drawn.get(draw)
        if drawn is None:
            return False
        return bool(drawn.params & params) or (
            drawn.law is not None and drawn.law() is law
        )

    def _leaf(self, tensor: Tensor) -> Bits:
        bit = self._leaves.get(tensor)
        if bit is None:
            if self._params >= _MANY:
                self._forget_all()
            bit = self._leaves[tensor] = 1 << self._params
            self._params += 1
        return int(bit)

    def _from_graph(self, tensor: Tensor) -> Note:
        """Follow the graph of a tensor that no torch function has shown."""
        draws = densities = params = 0
        for mark in self.marks_below(tensor):
            if isinstance(mark, Tensor):
                params |= self._leaf(mark)
            elif self.drawn.get(bit := getattr(mark, "bit", 0)) is mark:
                draws |= bit
            elif self.densities.get(bit) is mark:
                densities |= bit
        return Note(
            values=draws | densities,
            direct=draws,
            params=params,
            path=draws,
            other=draws,
            ratios=densities,
        )

    def _bit(self) -> Bits:
        if self._used >= _MANY:
            self._forget_all()
        self._used += 1
        return 1 << (self._used - 1)

    def _forget_all(self) -> None:
        self.epoch += 1
        self._used = self._params = 0
        self.noise = self.heard = self.all_densities = 0
        self._leaves = WeakTensorKeyDictionary()
        for known in (self.drawn, self.densities, self.gradients):
            known.clear()


def _parts(value: object) -> Iterator[object]:
    """Yield what may hold the parameters of a distribution."""
    held: Any
    if isinstance(value, (Distribution, Transform)):
        held = list(vars(value).values())
        if isinstance(value, nn.Module):
            held += value.parameters()
    elif isinstance(value, (list, tuple)):
        held = value
    elif isinstance(value, dict):
        held = value.values()
    else:
        return
    for part in held:
        if isinstance(part, (Tensor, Distribution, Transform, nn.Module, list, tuple)):
            yield part
        elif isinstance(part, dict):
            yield part
