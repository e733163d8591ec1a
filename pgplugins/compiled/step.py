"""One compiled graph, ready to be run again and again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pgplugins.compiled.lowering import Lowered
from pgplugins.compiled.scratch import Scratch
from pgplugins.compiled.signature import Likeness
from pgplugins.compiled.state import Place, Use
from pgplugins.compiled.tracing import Traced

Answer = tuple[Tensor, Any]

AT_ONCE = 500
_MOST_BYTES = 32 * 2**20  # of noise that is drawn at once


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
        self._code, self._scratch = lowered.code, lowered.scratch
        self._alone = _Alone(lowered.scratch)
        self._others = traced.outputs - 1
        self._held = list(traced.held)
        self._noise = lowered.noise
        # Room for many runs at once: a run then takes what belongs to it as it is.
        size = sum(one.size * one.dtype.itemsize for one in lowered.noise)
        self.at_once = max(1, min(AT_ONCE, _MOST_BYTES // max(size, 1)))
        """How many runs one call of :meth:`repeat` makes at most."""
        self._many = [one.new(self.at_once) for one in lowered.noise]
        self._found = lowered.first.new_zeros((self.at_once, *lowered.first.shape))
        parts = [*self._many, self._found]
        self._rows = list(zip(*(part.unbind() for part in parts), strict=True))
        self._draws = lowered.draws
        self._going = torch.ones((), dtype=torch.bool, device=lowered.first.device)
        self._alike = Likeness(self._held)
        self._lessons = traced.lessons
        index = {id(tensor): i for i, tensor in enumerate(self._held)}
        asked = {id(tensor): answer for tensor, answer in answers}
        self._state = [
            _Known(place, index.get(id(place.now)), asked.get(id(place.now), _UNASKED))
            for place in use.read
        ]

    @property
    def dtype(self) -> torch.dtype:
        """The first output's type."""
        return self._found.dtype

    @property
    def learns(self) -> bool:
        """Whether something is learnt between the runs."""
        return bool(self._lessons)

    def run(self, arguments: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """Run once.

        Returns:
            The first output, which the next run overwrites; and the others, with what
            is to be learnt from.
        """
        row = self._rows[0]
        for one, room in zip(self._noise, row, strict=False):
            one.draw(room)
        scratch = self._scratch
        with self._alone:
            others = self._code([*row, self._going, *self._held, *arguments])
            if others and scratch is not None and scratch.kept:
                others = [tensor.clone() for tensor in others]
        return row[-1], others

    def repeat(self, times: int, arguments: Sequence[Tensor]) -> Tensor:
        """Run several times without learning, ``at_once`` at most.

        Returns:
            The first output of each, shape ``(times, ...)``.
        """
        if len(self._noise) > 1 or self._draws:
            # Noise of two kinds at once would be other noise than run by run.
            found = [self.run(arguments)[0].clone() for _ in range(times)]
            return torch.stack(found)
        for one, room in zip(self._noise, self._many, strict=True):
            one.draw(room[:times])
        code, rest = self._code, (self._going, *self._held, *arguments)
        first = 0
        if self._scratch is not None and not self._scratch.settled:
            first = 1
            with self._alone:
                code([*self._rows[0], *rest])
        with self._alone:
            for row in self._rows[first:times]:
                code([*row, *rest])
        return self._found[:times].clone()

    def learn(self, values: Sequence[Tensor]) -> None:
        """Teach the estimators what a run has returned beside its first output."""
        left = iter(values[self._others :])
        for learn, there in self._lessons:
            learn(*(next(left) if is_there else None for is_there in there))

    def fits(self) -> bool:
        """Whether the graph is right for the state that the estimators have now.

        State that has been learnt or loaded meanwhile is what the next run reads.
        """
        for known in self._state:
            now = known.place.now
            if now is known.latest:
                continue
            if not known.fits(now):
                return False
            known.latest = now
            if known.index is not None and now is not None:
                self._held[known.index] = now
        return self._alike(*self._held)

    def go_on(self) -> None:
        """Write again, after a run whose first output was not finite."""
        self._going.fill_(True)


_UNASKED = object()


class _Known:
    """What a graph takes for granted of a buffer."""

    def __init__(self, place: Place, index: int | None, answer: object) -> None:
        now = place.now
        self.place, self.index, self.answer = place, index, answer
        # What was asked for its value may have been written into.
        self.latest = now if answer is _UNASKED else None
        self.shape = None if now is None else now.shape

    def fits(self, now: Tensor | None) -> bool:
        if now is None or self.shape is None:
            return now is None and self.shape is None
        return now.shape == self.shape and (
            self.answer is _UNASKED or now.item() == self.answer
        )


class _Alone:
    """Where code runs: without autograd, and alone in its scratch memory."""

    def __init__(self, scratch: Scratch | None) -> None:
        self._scratch, self._grad = scratch, True

    def __enter__(self) -> None:
        if self._scratch is not None:
            self._scratch.lock.acquire()
        self._grad = torch.is_grad_enabled()
        torch._C._set_grad_enabled(False)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        torch._C._set_grad_enabled(self._grad)
        scratch = self._scratch
        if scratch is not None:
            if kind is not None:
                scratch.reset()
            elif not scratch.settled:
                scratch.settle()
            scratch.lock.release()
