"""Whether score and path have agreed so far, as they do where a cost is continuous."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor, nn

_LIMIT = 4.0  # |z| of one parameter's difference
_LARGEST = 16.0  # how often the sum has to exceed the largest call in it
_FEWEST_CALLS = 50.0  # before anything is said
_FEWEST_ROWS = 1000.0  # likewise: rows are where a heavy tail may hide
_HORIZON = 5000.0  # calls that are remembered
_TOGETHER = 24  # calls that are looked at together, at least


class PathGuard(nn.Module):
    """Tests on past draws that the differences ``f s - P`` have mean zero.

    They do if the cost is continuous in the sample; a jump leaves the path gradient
    ``P`` without its share. The sums over the rows of one call are the differences of a
    martingale whatever the parameters do from call to call and however the rows hang
    together, so that a drift is no evidence; nor is a high cost, whose multiple of the
    score ``s`` is regressed out.

    A self-normalised sum over calls beyond four standard errors (more for many
    parameters: the chance is shared among them) raises a suspicion. It has to be
    confirmed on what comes after, by the same parameter, in the same direction, beyond
    four standard errors again, before four times as much has been seen. Both sums have
    to exceed sixteen times the largest call in them: under a heavy or skewed tail, what
    is rare and still to come would make up for no more than a few of those.
    """

    broken: Tensor
    suspect: Tensor
    weights: Tensor
    rows: Tensor
    waiting: Tensor | None
    sums: Tensor | None

    def __init__(self) -> None:
        """Start without a past."""
        super().__init__()
        self.register_buffer("broken", torch.tensor(False))
        # The parameter that is suspected (-1: none), its direction, the calls left.
        self.register_buffer("suspect", torch.tensor([-1.0, 0.0, 0.0]))
        # Sum of the calls' weights, and of their squares.
        self.register_buffer("weights", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("rows", torch.tensor(0))
        self.register_buffer("waiting", None)
        self.register_buffer("sums", None)

    def update(self, sums: Tensor, rows: int) -> None:
        """Take in calls: the sums over their rows of scores and of differences.

        Args:
            sums: Shape ``(calls, 2, P)``, in double precision.
            rows: How many rows they had together.
        """
        if self.waiting is not None and self.waiting.shape[2] != sums.shape[2]:
            self.waiting = self.sums = None
            self._search()
        self.rows.add_(rows)
        waiting = sums if self.waiting is None else torch.cat([self.waiting, sums])
        if len(waiting) < _TOGETHER:
            self.waiting = waiting
            return
        # One cost that is not finite must not spoil all that follow.
        self._take_in(waiting[waiting.isfinite().all(-1).all(-1)])
        self.waiting = sums[:0]

    def _take_in(self, calls: Tensor) -> None:
        if self.sums is None:
            self.sums = calls.new_zeros(6, calls.shape[2])
        if len(calls) == 0:
            return
        score, difference = calls.unbind(1)
        weight, square = self.weights.tolist()
        keep = 1.0 if weight < _HORIZON else (1 - 1 / _HORIZON) ** len(calls)
        self.sums[:2].mul_(keep).add_(calls.sum(0))
        squares = [score * score, score * difference, difference * difference]
        self.sums[2:5].mul_(keep**2).add_(torch.stack(squares).sum(1))
        rest = difference - self._share() * score
        self.sums[5] = torch.maximum(keep * self.sums[5], rest.abs().amax(0))
        weight, square = keep * weight + len(calls), keep**2 * square + len(calls)
        self.weights = self.weights.new_tensor([weight, square])
        count = weight**2 / square
        if count >= _FEWEST_CALLS and self.rows >= _FEWEST_ROWS:
            self._judge(count, len(calls))

    def _judge(self, count: float, calls: int) -> None:
        z = self._deviation()
        parameter, direction, left = self.suspect.tolist()
        if parameter < 0:
            size, index = z.abs().max(0)
            if size > _limit(z.shape[0]):
                self._search()
                self.suspect = self.suspect.new_tensor(
                    [float(index), float(z[index].sign()), 4 * count]
                )
        elif direction * z[int(parameter)] > _LIMIT:
            self.broken = torch.ones_like(self.broken)
        elif left <= calls:
            self._search()
        else:
            self.suspect[2] -= calls

    def _share(self) -> Tensor:
        """Regression of the differences on the scores, through the origin."""
        assert self.sums is not None
        return torch.where(self.sums[2] > 0, self.sums[3] / self.sums[2], 0.0)

    def _deviation(self) -> Tensor:
        """Self-normalised sums; zero where a few calls may have made them."""
        assert self.sums is not None
        score, difference, _, product, square, largest = self.sums
        share = self._share()
        rest = square - share * product
        total = difference - share * score
        # Differences that are a multiple of the score say nothing but rounding.
        told = (rest > 1e-12 * square) & (total.abs() > _LARGEST * largest)
        return torch.where(told, total / rest.sqrt(), 0.0)

    def _search(self) -> None:
        """Start afresh, without a suspicion."""
        self.suspect = torch.tensor([-1.0, 0.0, 0.0]).to(self.suspect)
        self.weights.zero_()
        self.rows.zero_()
        if self.sums is not None:
            self.sums.zero_()

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any
    ) -> None:
        for name in ("waiting", "sums"):
            # Their sizes are only known once a site has been seen.
            found = state_dict.get(prefix + name)
            setattr(self, name, None if found is None else found.clone())
        super()._load_from_state_dict(state_dict, prefix, *args)


def _limit(parameters: int) -> float:
    """Share the chance of four standard errors among the parameters."""
    normal = NormalDist()
    return -normal.inv_cdf(normal.cdf(-_LIMIT) / parameters)
