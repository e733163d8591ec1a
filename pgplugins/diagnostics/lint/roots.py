"""What lint finds at a backward pass, where the whole loss is known."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pgplugins.diagnostics.lint import findings
from pgplugins.diagnostics.lint.baselines import expanded, levels
from pgplugins.diagnostics.lint.findings import LintReport
from pgplugins.diagnostics.lint.memory import Memory
from pgplugins.diagnostics.lint.notes import Atom, Bits, Note
from pgplugins.diagnostics.lint.places import Place, caller, users_line
from pgplugins.diagnostics.lint.products import Suspicion, Weight, judge

_REMEMBERED = 256


class Roots:
    """Looks at the tensors that backward passes start from."""

    def __init__(self, memory: Memory, report: LintReport) -> None:
        """Report to ``report``."""
        self.memory = memory
        self.report = report
        self._suspicions: list[Suspicion] = []
        self._steps: dict[Bits, Place] = {}
        self._past: deque[tuple[Atom, float]] = deque(maxlen=_REMEMBERED)
        """What earlier passes have differentiated."""
        self._epoch = memory.epoch
        self._passes = 0

    def suspect(self, product: Tensor, suspicion: Suspicion) -> None:
        """Remember a suspicion until backward goes through the product."""
        self._suspicions.append(suspicion)
        self.memory.mark(product, suspicion)

    def note_step(self, draws: Bits, place: Place) -> None:
        """Remember where draws have lost their gradient."""
        while draws:
            low = draws & -draws
            draws ^= low
            self._steps.setdefault(low, place)

    def close(self, result: Any = None) -> None:
        """Judge a program that has ended without a backward pass of its own.

        Args:
            result: What it has returned: its loss, perhaps.
        """
        if self._passes:
            return
        roots = [root for root in _as_list(result) if isinstance(root, Tensor)]
        with torch._C.DisableTorchFunction():
            for root in roots:
                self._judge(root, self.memory.note_of(root))
        if not roots:
            for suspicion in self._suspicions:
                if not suspicion.alone and not suspicion.unless:
                    self.report.add(suspicion.finding)

    def run(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Run a backward pass and judge what it went through."""
        self._passes += 1
        memory = self.memory
        given = inspect.signature(func).bind(*args, **kwargs).arguments
        roots = _as_list(given.get("self", given.get("tensors", given.get("outputs"))))
        weights = _as_list(
            given.get("gradient", given.get("grad_tensors", given.get("grad_outputs")))
        )
        with torch._C.DisableTorchFunction():
            notes = [memory.note_of(root) for root in roots]
            for root, note in zip(roots, notes, strict=True):
                self._judge(root, note)
            for root, note, weight in zip(roots, notes, weights, strict=False):
                self._judge_weight(root, note, weight)
        memory.gradients.clear()
        out = func(*args, **kwargs)
        for note in notes:
            self._judge_gradients(note)
        return out

    def _judge(self, root: Tensor, note: Note | None) -> None:
        if self._suspicions:
            for mark in self.memory.marks_below(root):
                if isinstance(mark, Suspicion) and _holds(mark, note):
                    self.report.add(mark.finding)
        if note is None:
            return
        self._judge_twice(list(levels(note.parts or {})))
        _, held = self.memory.draws_of(note.scores | note.ratios)
        lost = note.stepped & ~(note.other | held | self.memory.noise)
        if lost:
            low = lost & -lost
            place = self._steps.get(low) or users_line()
            self.report.add(findings.FLAT_COST.at(place))

    def _judge_twice(self, loss: list[tuple[Atom, float]]) -> None:
        """Look for costs that are differentiated on two ways, here or since before."""
        if self._epoch != self.memory.epoch:
            self._past.clear()
            self._epoch = self.memory.epoch
        before = list(self._past)
        for terms, costs in ((loss, loss), (loss, before), (before, loss)):
            for atom, share in terms:
                if atom.product is None:
                    continue
                if _counted_twice(atom, share, costs, self.memory.noise):
                    self.report.add(findings.DOUBLE_COUNTING.at(users_line()))
        self._past.extend(part for part in loss if part[0].path or part[0].product)

    def _judge_weight(self, root: Tensor, note: Note | None, weight: Any) -> None:
        """Treat ``log_prob.backward(cost)`` as the product that it is."""
        place = caller()
        if note is None or place is None or not isinstance(weight, Tensor):
            return
        if not note.scores | note.ratios or bool((weight.detach() == 1).all()):
            return
        known = self.memory.note_of(weight)
        heard = 0 if known is not None else self.memory.heard
        given = Weight(weight, known or Note(), heard)
        for suspicion in judge(self.memory, note, root, given, place):
            if _holds(suspicion, note):
                self.report.add(suspicion.finding)

    def _judge_gradients(self, note: Note | None) -> None:
        """Look for draws that backward has reached with nothing but zeros."""
        if note is None or not note.varies:
            return
        attached, held = self.memory.draws_of(note.scores | note.ratios)
        for bit, moved in self.memory.gradients.items():
            if note.path & bit & ~(attached | held) and not moved:
                self.report.add(findings.FLAT_COST.at(users_line()))


def _holds(suspicion: Suspicion, root: Note | None) -> bool:
    """Whether nothing in the loss makes up for what is suspected."""
    if root is None:
        return not suspicion.alone
    if root.other & suspicion.alone:
        return False
    return not any(
        atom.path & suspicion.draws
        and atom.params & suspicion.unless
        and atom.product is None
        for atom, _ in levels(root.parts or {})
    )


def _counted_twice(
    term: Atom, share: float, loss: list[tuple[Atom, float]], noise: Bits
) -> bool:
    """Whether a cost that weights a score term is also differentiated on its path."""
    assert term.product is not None
    draws, cost = term.product
    paths = [
        (atom, direct)
        for atom, direct in loss
        if atom.path & draws and atom.product is None
    ]

    def on_a_path(weighting: Atom, weight: float) -> bool:
        return any(
            share * weight * direct > 0 and _same(atom, weighting)
            for atom, direct in paths
        )

    if draws & noise:  # one call of torch.rand may serve several samples
        moving = [part for part in cost.items() if part[0].values & draws]
        return bool(moving) and all(on_a_path(*part) for part in moving)
    return any(on_a_path(*part) for part in (*cost.items(), *expanded(cost).items()))


def _same(one: Atom, other: Atom) -> bool:
    return one is other or (
        one.value.shape == other.value.shape and torch.equal(one.value, other.value)
    )


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
