"""Takes notes of draws and log-densities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.transforms import TanhTransform

from pgplugins.diagnostics.lint.findings import SATURATED_ACTION
from pgplugins.diagnostics.lint.notes import Atom, Bits, Note
from pgplugins.diagnostics.lint.places import users_line
from pgplugins.diagnostics.lint.roots import Roots
from pgplugins.diagnostics.lint.watching import Watching


class Listening:
    """Writes what distributions do into the memory of one lint."""

    def __init__(self, watching: Watching, roots: Roots) -> None:
        """Listen on behalf of one lint."""
        self.memory = watching.memory
        self.watching = watching
        self.roots = roots

    def enter(self) -> None:
        """Judge nothing that happens inside a method."""
        self.watching.inside += 1

    def leave(self) -> None:
        """Judge again."""
        self.watching.inside -= 1

    def drawn(self, law: Distribution, value: Any) -> None:
        """Note a draw."""
        if not isinstance(value, Tensor) or (value.requires_grad and value.is_leaf):
            return  # Delta hands its parameter out
        memory = self.memory
        with torch._C.DisableTorchFunction():
            natural = memory.note_of(value) or Note()
            params = natural.params | memory.params_of(law)
            drawn = memory.new_draw(law, params)
            note = Note(
                values=drawn.bit | natural.values,
                heard=natural.heard,
                direct=drawn.bit,
            )
            if value.requires_grad:
                note.path = note.other = drawn.bit | natural.path
                memory.mark(value, drawn)
                self._follow(value, drawn.bit)
            note.squashed = _is_squashed(law)
            note.parts = {Atom(value, note): 1.0}
            memory.remember(value, note)

    def density(self, law: Distribution, value: Any, out: Any) -> None:
        """Note a log-density, and whether it is that of the law's own draw."""
        if not isinstance(value, Tensor) or not isinstance(out, Tensor):
            return
        memory = self.memory
        with torch._C.DisableTorchFunction():
            given = memory.note_of(value) or Note()
            natural = memory.note_of(out) or Note()
            if not given.values | natural.values:
                return
            params = memory.params_of(law)
            candidates = given.direct
            own = 0
            while candidates:
                low = candidates & -candidates
                candidates ^= low
                noise = low & memory.noise and given.params & params
                if noise or memory.own(low, law, params):
                    own |= low
            density = memory.new_density(own, own & given.path)
            note = Note(
                values=given.values | natural.values | density.bit,
                heard=given.heard | natural.heard,
                direct=given.direct | natural.direct,
                params=natural.params | params,
            )
            if out.requires_grad:
                note.path = natural.path | given.path
                note.other = note.path & ~density.attached
                note.foreign = not own and bool(note.path)
                note.scores = density.bit if own else 0
                memory.mark(out, density)
            note.parts = {Atom(out, note): 1.0}
            memory.remember(out, note)

    def inverted(self, value: Any) -> None:
        """Look whether an action that has lost its preimage is saturated."""
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return
        with torch._C.DisableTorchFunction():
            edge = 1 - torch.finfo(value.dtype).eps
            note = self.memory.note_of(value)
            clamped = note is not None and note.clamped
            if clamped or bool((value.detach().abs() >= edge).any()):
                self.roots.report.add(SATURATED_ACTION.at(users_line()))

    def from_python(self, out: Any) -> None:
        """Note a tensor that was made from an array."""
        with torch._C.DisableTorchFunction():
            if self.memory.heard:
                note = Note(heard=self.memory.heard)
                note.parts = {Atom(out, note): 1.0}
                self.memory.remember(out, note)

    def _follow(self, value: Tensor, bit: Bits) -> None:
        """Note whether backward brings a draw anything but zeros."""
        if torch._C._functorch.maybe_current_level() is not None:
            return
        gradients = self.memory.gradients

        def note_gradient(gradient: Tensor) -> None:
            gradients[bit] = gradients.get(bit, False) or bool(gradient.any())

        value.register_hook(note_gradient)


def _is_squashed(law: Any) -> bool:
    """Whether a law is the image of another under tanh."""
    while law is not None:
        if isinstance((getattr(law, "transforms", None) or [None])[-1], TanhTransform):
            return True
        law = getattr(law, "base_dist", None)
    return False
