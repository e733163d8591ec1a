"""Counts: a parameter's derivative as one difference of neighbouring costs.

Summation by parts of ``sum_k p(k) f(k)``; for the Poisson law this is its weak
derivative as well.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Binomial, Geometric, Poisson

from pgplugins.core.features import WeakDerivative, difference


@difference.register(Poisson)
class _Poisson:
    parameters = frozenset({"rate"})

    def __init__(self, dist: Poisson) -> None:
        self.rate = dist.rate

    def __call__(self, value: Tensor) -> list[WeakDerivative]:
        return [WeakDerivative(self.rate, torch.ones_like(value), value + 1, None)]


@difference.register(Geometric)
class _Geometric:
    """``dE/dp = -E[(X + 1) (f(X + 1) - f(X))] / p`` for the number of failures X."""

    parameters = frozenset({"probs", "logits"})

    def __init__(self, dist: Geometric) -> None:
        self.probs = dist.probs

    def __call__(self, value: Tensor) -> list[WeakDerivative]:
        scale = -(value + 1) / self.probs.detach()
        return [WeakDerivative(self.probs, scale, value + 1, None)]


@difference.register(Binomial)
class _Binomial:
    """``dE/dp = n E[f(Y + 1) - f(Y)]`` with Y one trial short of the draw.

    Of the draw's n trials one is left out at random: with probability ``X / n`` it was
    a success, so the neighbour lies below; else above.
    """

    parameters = frozenset({"probs", "logits"})

    def __init__(self, dist: Binomial) -> None:
        self.probs, self.total_count = dist.probs, dist.total_count

    def __call__(self, value: Tensor) -> list[WeakDerivative]:
        trials = self.total_count.to(value)
        # Without trials there is nothing to leave out, and the scale is zero.
        success = torch.rand_like(value) * trials < value
        other = torch.where(success, value - 1, value + 1)
        sign = torch.where(success, -1.0, 1.0).to(value)
        other = torch.where(trials > 0, other, value)
        return [WeakDerivative(self.probs, sign * trials, other, None)]
