"""One compiled graph, ready to be run again and again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pgplugins.compiled.lowering import Lowered
from pgplugins.compiled.state import Place, Use
from pgplugins.compiled.tracing import Traced

Answer = tuple[Tensor, Any]


class Step:
    """Runs the code of a graph, and teaches the estimators afterwards.

    Args:
        traced: The graph.
        lowered: Its code.
        use: What it does with the state of estimators.
        answers: State that was asked for its value while the graph was traced.
    """

    def __init__(
        self, traced: Traced, lowered: Lowered, use: Use, answers: Sequence[Answer]
    ) -> None:
        """Get ready for the first run."""
        self.fits = True
        """Whether the graph is right for the state that the estimators have now."""
        self._code, self._outputs = lowered.code, traced.outputs
        self._held = list(traced.held)
        device = next((t.device for t in self._held), torch.device("cpu"))
        self._noises = lowered.seeds
        self._seeds = torch.zeros(
            max(lowered.seeds, 1), dtype=torch.int64, device=device
        )
        self._lessons = traced.lessons
        index = {id(tensor): i for i, tensor in enumerate(self._held)}
        asked = {id(tensor): answer for tensor, answer in answers}
        self._state = [
            _Known(place, index.get(id(place.now)), asked.get(id(place.now), _UNASKED))
            for place in use.read
        ]

    @property
    def learns(self) -> bool:
        """Whether something is learnt between the runs."""
        return bool(self._lessons)

    def run(self, arguments: Sequence[Tensor]) -> Sequence[Tensor]:
        """Run once; returns outputs, and what is to be learnt from."""
        if self._noises:
            self._seeds.random_()
        grad = torch.is_grad_enabled()
        torch._C._set_grad_enabled(False)
        try:
            return self._code([self._seeds, *self._held, *arguments])
        finally:
            torch._C._set_grad_enabled(grad)

    def repeat(self, times: int, arguments: Sequence[Tensor]) -> list[Tensor]:
        """Run several times without learning; returns the first output of each."""
        code, rest = self._code, (*self._held, *arguments)
        seeds = self._seeds.new_zeros(times, len(self._seeds))
        if self._noises:
            seeds.random_()
        with torch.no_grad():
            return [code([row, *rest])[0] for row in seeds.unbind()]

    def learn(self, values: Sequence[Tensor]) -> None:
        """Teach the estimators what a run has returned."""
        left = iter(values[self._outputs :])
        for learn, there in self._lessons:
            learn(*(next(left) if is_there else None for is_there in there))
        for known in self._state:
            now = known.place.now
            if not known.fits(now):
                self.fits = False
                return
            if known.index is not None and now is not None:
                self._held[known.index] = now


_UNASKED = object()


class _Known:
    """What a graph takes for granted of a buffer."""

    def __init__(self, place: Place, index: int | None, answer: object) -> None:
        now = place.now
        self.place, self.index, self.answer = place, index, answer
        self.shape = None if now is None else now.shape

    def fits(self, now: Tensor | None) -> bool:
        if now is None or self.shape is None:
            return now is None and self.shape is None
        return now.shape == self.shape and (
            self.answer is _UNASKED or now.item() == self.answer
        )
