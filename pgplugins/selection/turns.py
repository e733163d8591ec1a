"""Whose turn it is: the incumbent's, and in a race that of those who challenge it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from pgplugins.selection.race import Race

LOOK: Final = 25
"""Calls from one look at what is due to the next."""


class Turns(nn.Module):
    """One candidate draws, until a race against others has shown a better one.

    Those that have never been raced challenge the incumbent together, and the winner
    takes its place. Later they come one by one, the more rarely the worse they were,
    and have to win by a margin.

    Args:
        size: How many candidates there are; they are told apart by their index.
    """

    incumbent: Tensor
    raced: Tensor
    duel: Tensor

    def __init__(self, size: int) -> None:
        """Start with nobody in place."""
        super().__init__()
        self.race = Race(size)
        self.register_buffer("incumbent", torch.tensor(-1))
        # The call at which each has last been raced; -1 before.
        self.register_buffer("raced", torch.full((size,), -1))
        self.register_buffer("duel", torch.tensor(False))

    @property
    def holder(self) -> int | None:
        """The incumbent's index; ``None`` before the first."""
        index = int(self.incumbent)
        return None if index < 0 else index

    def seat(self, index: int) -> None:
        """Make one the incumbent without a race."""
        self.incumbent.fill_(index)

    def whose(self, able: Sequence[bool]) -> int | None:
        """Return whose turn it is among those able; ``None`` if it is nobody's."""
        index = self.race.whose_turn(able)
        if index is not None:
            return index
        holder = self.holder
        return holder if holder is not None and able[holder] else None

    def go_on(self, able: Sequence[bool]) -> None:
        """Pass the turn on in the race that is under way.

        Args:
            able: Whether each candidate can still draw. A race that one has to leave
                stops; the others race again.
        """
        racing = self.race.contestants
        left = [i for i in racing if able[i]]
        if len(left) < len(racing):
            self.race.stop()
            self.raced[left] = -1
            if left:
                self.seat(left[0])
            return
        winner = self.race.advance(self.holder if self.duel else None)
        if winner is not None:
            self.seat(winner)

    def challenge(self, able: Sequence[bool], calls: int) -> None:
        """Start a race if one is due.

        Args:
            able: Whether each candidate can draw; the incumbent can.
            calls: How many calls there have been.
        """
        incumbent = int(self.incumbent)
        raced = self.raced.tolist()
        rivals = [i for i, can in enumerate(able) if can and i != incumbent]
        fresh = [i for i in rivals if raced[i] < 0]
        if fresh:
            self._start([incumbent, *fresh], calls, duel=False)
        elif rivals and calls % LOOK == 0:
            waits = {i: self.race.patience(i, incumbent, len(rivals)) for i in rivals}
            since = {i: calls - raced[i] for i in rivals}
            due = max(rivals, key=lambda i: since[i] - waits[i])
            if since[due] >= waits[due]:
                self._start([incumbent, due], calls, duel=True)

    def _start(self, contestants: list[int], calls: int, *, duel: bool) -> None:
        self.race.start(contestants)
        self.raced[contestants] = calls
        self.duel.fill_(duel)
