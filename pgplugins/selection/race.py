"""A race between estimators, by the second moment of their gradients times their cost.

Geffner and Domke (2020, "A rule for gradient estimator selection") choose the estimator
with the least ``E|g|^2 T``, the product that bounds the time of stochastic gradient
descent. Here ``g`` is the gradient for the parameters of the site's own distribution,
as one particle alone would give it, and ``T`` counts evaluations of the cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

FIXED: Final = 10.0
"""What a call costs before its first row is evaluated, in rows."""

ROUNDS: Final = (8, 32)
"""How many calls of each count, at least and at most."""

MARGIN: Final = 1.2
"""By how much one has to be better to be taken before those that come before it.

One that does come before the incumbent needs no margin to take its place, so that
between these two limits everything stays as it is.
"""

SHARE: Final = 0.05
"""What looking at the others again may add to the noise."""

_WARM_UP = 4  # calls of each in a race that do not count: some learn first
_SURE = 3.0  # standard errors by which one has to be worse to drop out early
_FOREVER = 1e9
_ROUNDING = 1e-12  # of a moment: a variance that is none


class Standing(NamedTuple):
    """How one estimator did in its last race.

    Args:
        variance: Of one particle's gradient.
        cost: Of a call, by the cost model.
        criterion: Second moment times cost.
        error: The relative standard error of the criterion.
    """

    variance: float
    cost: float
    criterion: float
    error: float


def cost_of(rows: float) -> float:
    """Return what a call of so many rows costs, in rows.

    Example:
        >>> cost_of(1), cost_of(30)
        (11.0, 40.0)
    """
    return FIXED + rows


class Race(nn.Module):
    """Lets estimators take turns, and drops those that are worse.

    Whose turn it is depends on past calls alone, so that every estimate is as unbiased
    as the estimator whose turn it is.

    Args:
        size: How many estimators there are; they are told apart by their index.
    """

    running: Tensor
    turn: Tensor
    calls: Tensor
    samples: Tensor
    freedom: Tensor
    squares: Tensor
    rows: Tensor
    shared: Tensor
    signal: Tensor
    last: Tensor
    means: Tensor | None

    def __init__(self, size: int) -> None:
        """Start without a race."""
        super().__init__()
        zeros = torch.zeros(size, dtype=torch.float64)
        self.register_buffer("running", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("turn", torch.tensor(0))
        self.register_buffer("calls", torch.zeros(size, dtype=torch.long))
        # Of one particle's gradient: how many, and their squares about the mean.
        self.register_buffer("samples", zeros.clone())
        self.register_buffer("freedom", zeros.clone())
        self.register_buffer("squares", zeros.clone())
        self.register_buffer("rows", zeros.clone())
        # What leave-one-out adds to the variance of a mean, in squared gradients: any
        # two of n particles have the covariance |gradient|^2 / (n - 1)^2.
        self.register_buffer("shared", zeros.clone())
        self.register_buffer("signal", torch.zeros((), dtype=torch.float64))
        # Variance, cost, criterion and error in the last race; -1 before the first.
        self.register_buffer("last", torch.full((size, 4), -1.0).double())
        self.register_buffer("means", None)

    @property
    def contestants(self) -> list[int]:
        """Those that still take turns; none where there is no race."""
        return [i for i, runs in enumerate(self.running.tolist()) if runs]

    def whose_turn(self, fit: Sequence[bool]) -> int | None:
        """Return whose turn it is among those that fit; ``None`` without a race."""
        able = [i for i in self.contestants if fit[i]]
        return able[int(self.turn) % len(able)] if able else None

    def start(self, contestants: Sequence[int]) -> None:
        """Let these take turns; what earlier races have shown does not count."""
        self.running.zero_()
        self.running[list(contestants)] = True
        self.turn.zero_()
        for sums in (self.calls, self.samples, self.freedom, self.squares):
            sums[list(contestants)] = 0
        self.means = None

    def stop(self) -> None:
        """End the race without a winner."""
        self.running.zero_()
        self.means = None

    def standing(self, index: int) -> Standing | None:
        """Return how one did in its last race; ``None`` if it has been in none."""
        last = self.last[index].tolist()
        return None if last[0] < 0 else Standing(*last)

    def add(
        self, index: int, gradients: Tensor, rows: int, *, left_out: bool = False
    ) -> None:
        """Take in a call.

        Args:
            index: Whose call it was.
            gradients: As one particle alone would give them, shape ``(particles,
                *batch, P)``.
            rows: How many rows it had.
            left_out: Each particle has been held against the mean of the others, which
                makes their gradients depend on one another.
        """
        if not self.running[index] or not gradients.isfinite().all():
            return
        self.calls[index] += 1
        self.rows[index] = rows
        particles = len(gradients)
        self.shared[index] = 1 / (particles - 1) if left_out else 0.0
        if self.calls[index] <= _WARM_UP:
            return
        sample = gradients.double()
        count, mean = len(sample), sample.mean(0)
        within = (sample - mean).square().sum()
        if self.means is None or self.means.shape[1:] != mean.shape:
            # Another minibatch size: its mean is another, and cannot be joined.
            self.means = mean.new_zeros(len(self.running), *mean.shape)
            self.samples.zero_()
        self.means = self.means.to(mean.device)
        before = float(self.samples[index])
        step = mean - self.means[index]
        self.means[index] += step * (count / (before + count))
        # Chan, Golub and LeVeque (1983, eq. 2.1).
        between = step.square().sum() * (before * count / (before + count))
        self.samples[index] += count
        self.freedom[index] += count if before else count - 1
        self.squares[index] += (within + between).to(self.squares)

    def advance(self, incumbent: int | None) -> int | None:
        """Pass the turn on; return the winner if the race is over.

        Args:
            incumbent: The one that has to be beaten by a margin.
        """
        contestants = self.contestants
        self.turn += 1
        if int(self.turn) % len(contestants):
            return None
        counted = [int(self.calls[i]) - _WARM_UP for i in contestants]
        if min(counted) < ROUNDS[0]:
            return None
        standings = self._standings(contestants)
        if standings is None:
            return None
        best = min(standings, key=lambda i: standings[i].criterion)
        keep = [
            i
            for i in contestants
            if not _worse(standings[i], standings[best], MARGIN if i < best else 1.0)
        ]
        if len(keep) < len(contestants):
            self.running.zero_()
            self.running[keep] = True
            self.turn.zero_()
        if len(keep) > 1 and min(counted) < ROUNDS[1]:
            return None
        self.stop()
        least = standings[best].criterion
        held = None if incumbent is None else standings.get(incumbent)
        if incumbent is None or held is None:
            return min(i for i in keep if standings[i].criterion <= MARGIN * least)
        needed = 1.0 if best < incumbent else MARGIN
        return best if held.criterion > needed * least else incumbent

    def _standings(self, contestants: Sequence[int]) -> dict[int, Standing] | None:
        """Write down how the contestants do; ``None`` if nothing is known yet."""
        freedom = self.freedom.tolist()
        if self.means is None or min(freedom[i] for i in contestants) < 1:
            return None
        variance = (self.squares / self.freedom.clamp_min(1)).tolist()
        samples = self.samples.tolist()
        known = [i for i in contestants if samples[i] > 0]
        if not known:
            return None
        sharpest = min(known, key=lambda i: variance[i] / samples[i])
        error = variance[sharpest] / samples[sharpest]
        signal = max(float(self.means[sharpest].square().sum()) - error, 0.0)
        self.signal.fill_(signal)
        shared = self.shared.tolist()
        found = {}
        for i in contestants:
            cost = cost_of(float(self.rows[i]))
            whole = variance[i] + shared[i] * signal
            moment = signal + whole
            share = variance[i] / moment if moment > 0 else 0.0
            relative = share * math.sqrt(2 / freedom[i])
            found[i] = Standing(whole, cost, moment * cost, relative)
            self.last[i] = self.last.new_tensor(found[i])
        return found

    def patience(self, index: int, incumbent: int, rivals: int) -> float:
        """Return after how many calls another race of these two is due.

        So many that the calls of the worse add no more than their share of
        :data:`SHARE` to the noise.
        """
        mine, its = self.standing(index), self.standing(incumbent)
        if mine is None or its is None:
            return 0.0
        exact = its.variance <= _ROUNDING * its.criterion
        if exact and its.cost <= MARGIN * mine.cost:
            return _FOREVER  # there is nothing to be better at
        worse = mine.criterion / its.criterion if its.criterion > 0 else _FOREVER
        calls = max(float(self.calls[index]), _WARM_UP + ROUNDS[0])
        return min(max(worse, 1.0) * calls * max(rivals, 1) / SHARE, _FOREVER)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any
    ) -> None:
        # Its size is only known once a site has been seen.
        found = state_dict.get(prefix + "means")
        self.means = None if found is None else found.clone()
        super()._load_from_state_dict(dict(state_dict), prefix, *args)


def _worse(one: Standing, best: Standing, margin: float) -> bool:
    """Whether one is worse by a margin and more than chance allows."""
    if one.criterion <= best.criterion:
        return False
    if best.criterion <= 0:
        return True
    limit = _SURE * math.hypot(one.error, best.error)
    return math.log(one.criterion / (margin * best.criterion)) > limit
