"""Regression on the past: coefficients that have not seen the draw they are used on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_LEAST_ROWS = 1000  # what the averages remember however few columns there are
_FEWEST_ROWS = 50  # what they have to know before coefficients are fitted
_SHARE = 0.5  # of what is known: rows that are worth new coefficients
_SIZED = ("waiting", "mean", "second", "solved")


class PastRegression(nn.Module):
    """Regresses targets on zero-mean columns, from averages of past moments.

    A control variate with coefficients fitted on the same batch is biased, and one
    fitted on the other rows of the batch needs many of them; coefficients from past
    draws are unbiased for any number. Targets and columns come in ``groups`` that are
    regressed apart: one group is a full regression, one group per parameter costs
    memory linear in the parameters.

    The averages weigh all past rows alike until they remember ``horizon`` rows per
    column, and a thousand at least; from then on they forget exponentially. Rows wait
    until there are enough to matter, one per column and half of what is known,
    and are then taken in together (with many groups, which hold little each, as soon as
    there is one per column): the coefficients in use may have seen less than the whole
    past, never the current draw.

    Args:
        horizon: How many past rows the averages remember, per column.
        ridge: Added to the diagonal of the columns' covariance, relative to it.
        shared: All groups have the same coefficients, and count alike whatever the
            scale of their columns.
    """

    weight: Tensor
    filled: Tensor
    waiting: Tensor | None
    mean: Tensor | None
    second: Tensor | None
    solved: Tensor | None

    def __init__(self, horizon: float, ridge: float, *, shared: bool = False) -> None:
        """Start without a past."""
        super().__init__()
        self.horizon = horizon
        self.ridge = ridge
        self.shared = shared
        self.register_buffer("weight", torch.zeros((), dtype=torch.float64))
        self.register_buffer("filled", torch.tensor(0))
        for name in _SIZED:
            self.register_buffer(name, None)

    def coefficients(self) -> Tensor | None:
        """Return the coefficients fitted on the past, shape ``(groups, q, targets)``.

        One group if they are shared; ``None`` while the past is too short to say
        anything.
        """
        return self.solved

    def update(self, columns: Tensor, targets: Tensor) -> None:
        """Take rows into the averages.

        Args:
            columns: Shape ``(groups, rows, q)``.
            targets: Shape ``(groups, rows, p)``.
        """
        self.add(torch.cat([columns, targets], -1), columns.shape[-1])

    def add(self, rows: Tensor, q: int) -> None:
        """Take in rows ``(groups, rows, q + p)``: the columns, and then the targets."""
        groups, count, width = rows.shape
        if self.waiting is not None and (
            self.waiting.shape[0] != groups or self.waiting.shape[2] != width
        ):
            self._forget()  # other parameters are varied than before
        if self.waiting is None:
            room = q if groups > 1 else max(q, math.ceil(_SHARE * self._remembered(q)))
            self.waiting = rows.new_zeros(groups, room, width, dtype=torch.float64)
        before = int(self.filled)
        filled = before + count
        if filled < self._wanted(groups, q):
            self.waiting[:, before:filled] = rows
            self.filled.fill_(filled)
            return
        self._take_in(torch.cat([self.waiting[:, :before], rows.double()], 1), q)
        self.filled.zero_()
        if self.weight >= max(4 * q, _FEWEST_ROWS):
            self.solved = self._solve(q)

    def _forget(self) -> None:
        self.weight = torch.zeros_like(self.weight)
        self.filled = torch.zeros_like(self.filled)
        for name in _SIZED:
            setattr(self, name, None)

    def missing(self, groups: int, q: int) -> float:
        """How many rows more are worth new coefficients."""
        return self._wanted(groups, q) - int(self.filled)

    def _wanted(self, groups: int, q: int) -> float:
        return q if groups > 1 else max(q, _SHARE * float(self.weight))

    def _remembered(self, q: int) -> float:
        """How many rows the averages remember at most."""
        return max(self.horizon * q, _LEAST_ROWS)

    def _take_in(self, rows: Tensor, q: int) -> None:
        # One cost that is not finite must not spoil all that follow.
        finite = rows.isfinite()
        if not finite.all():
            rows = rows[:, finite.all(-1).all(0)]
        count = rows.shape[1]
        if count == 0:
            return
        self.weight = (self.weight + count).clamp_max(self._remembered(q))
        mean = rows.mean(1)
        if self.mean is None or self.second is None:
            self.mean = mean
            self.second = rows[:, :, :q].transpose(1, 2) @ rows / count
            return
        share = min(1.0, float(count / self.weight))
        self.mean = self.mean.lerp(mean, share)
        self.second = torch.baddbmm(
            self.second,
            rows[:, :, :q].transpose(1, 2),
            rows,
            beta=1 - share,
            alpha=share / count,
        )

    def _solve(self, q: int) -> Tensor | None:
        assert self.mean is not None and self.second is not None
        covariance = self.second - self.mean[:, :q, None] * self.mean[:, None, :]
        if self.shared:
            size = covariance[:, :, :q].diagonal(dim1=-2, dim2=-1).sum(-1)
            share = torch.where(size > 0, 1 / size, 0.0)
            covariance = (share[:, None, None] * covariance).sum(0, keepdim=True)
        gram, cross = covariance[:, :, :q], covariance[:, :, q:]
        scale = gram.diagonal(dim1=-2, dim2=-1).clamp_min(1e-300).rsqrt()
        gram = gram * scale[:, :, None] * scale[:, None, :]
        gram.diagonal(dim1=-2, dim2=-1).add_(self.ridge)
        factor, failed = torch.linalg.cholesky_ex(gram)
        if failed.any():
            return self.solved
        found = torch.cholesky_solve(cross * scale[:, :, None], factor)
        return found * scale[:, :, None]

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any
    ) -> None:
        for name in _SIZED:
            # Their sizes are only known once a site has been seen.
            found = state_dict.get(prefix + name)
            setattr(self, name, None if found is None else found.clone())
        super()._load_from_state_dict(state_dict, prefix, *args)
