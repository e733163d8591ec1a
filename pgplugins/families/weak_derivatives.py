"""Weak derivatives: a parameter's derivative as a difference of two expectations.

Pflug (1996), "Optimization of Stochastic Models"; Mohamed, Rosca, Figurnov and Mnih
(2020), "Monte Carlo gradient estimation in machine learning", table 1. The two draws
are coupled, which is where the low variance comes from.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Exponential,
    Gamma,
    Normal,
    OneHotCategorical,
    Poisson,
)

from pgplugins.core.features import WeakDerivative, weak_derivative
from pgplugins.families.relaxations import finite


@weak_derivative.register(Normal)
class _Normal:
    parameters = frozenset({"loc", "scale"})

    def __init__(self, dist: Normal) -> None:
        self.loc, self.scale = dist.loc, dist.scale

    def __call__(self, value: Tensor) -> list[WeakDerivative]:
        loc, scale = self.loc.detach(), self.scale.detach()
        rayleigh = (2 * _exponential(scale)).sqrt()
        found = WeakDerivative(
            self.loc,
            1 / (scale * math.sqrt(2 * math.pi)),
            loc + scale * rayleigh,
            loc - scale * rayleigh,
        )
        # |M| is a chi variable of three degrees; U M is a normal one if U is uniform.
        maxwell = torch.randn_like(scale.expand(3, *scale.shape)).norm(dim=0)
        sign = torch.where(torch.rand_like(scale) < 0.5, -1.0, 1.0).to(scale)
        plus = scale * maxwell * sign
        minus = plus * torch.rand_like(scale)
        return [found, WeakDerivative(self.scale, 1 / scale, loc + plus, loc + minus)]


@weak_derivative.register(Exponential)
class _Exponential:
    parameters = frozenset({"rate"})

    def __init__(self, dist: Exponential) -> None:
        self.rate = dist.rate

    def __call__(self, value: Tensor) -> list[WeakDerivative]:
        rate = self.rate.detach()
        erlang = value + _exponential(rate) / rate
        return [WeakDerivative(self.rate, -1 / rate, erlang, None)]


@weak_derivative.register(Gamma)
class _Gamma:
    parameters = frozenset({"rate"})

    def __init__(self, dist: Gamma) -> None:
        self.rate, self.concentration = dist.rate, dist.concentration

    def __call__(self, value: Tensor) -> list[WeakDerivative]:
        rate = self.rate.detach()
        larger = value + _exponential(rate) / rate
        scale = -self.concentration.detach() / rate
        return [WeakDerivative(self.rate, scale, larger, None)]


@weak_derivative.register(Poisson)
class _Poisson:
    parameters = frozenset({"rate"})

    def __init__(self, dist: Poisson) -> None:
        self.rate = dist.rate

    def __call__(self, value: Tensor) -> list[WeakDerivative]:
        return [WeakDerivative(self.rate, torch.ones_like(value), value + 1, None)]


@weak_derivative.register(Bernoulli)
class _Bernoulli:
    parameters = frozenset({"probs", "logits"})

    def __init__(self, dist: Bernoulli) -> None:
        self.probs = dist.probs

    def __call__(self, value: Tensor) -> list[WeakDerivative]:
        # f(1) - f(0) is what a change of the draw changes, up to its sign.
        return [WeakDerivative(self.probs, 1 - 2 * value, 1 - value, None)]


class _Choice:
    """One of K categories: a logit's derivative moves mass to it from the others."""

    parameters = frozenset({"probs", "logits"})

    def __init__(self, logits: Tensor) -> None:
        self.logits = finite(logits)

    def pairs(self, index: Tensor) -> list[tuple[Tensor, Tensor, int, Tensor]]:
        """Return logit, mass, category, and a draw from the others, by category."""
        held = self.logits.detach()
        found = []
        for i in range(held.shape[-1]):
            others = held.clone()
            # Below all others, and yet a law where there are none.
            others[..., i] = torch.finfo(held.dtype).min / 2
            other = Categorical(logits=others).sample()
            # A draw that is not i is one of the others already.
            other = torch.where(index == i, other, index)
            probs = held[..., i].exp()
            found.append((self.logits[..., i], probs * (1 - probs), i, other))
        return found


@weak_derivative.register(Categorical)
class _Categorical(_Choice):
    def __init__(self, dist: Categorical) -> None:
        super().__init__(dist.logits)

    def __call__(self, value: Tensor) -> list[WeakDerivative]:
        return [
            WeakDerivative(logit, mass, torch.full_like(value, i), other)
            for logit, mass, i, other in self.pairs(value)
        ]


@weak_derivative.register(OneHotCategorical)
class _OneHotCategorical(_Choice):
    def __init__(self, dist: OneHotCategorical) -> None:
        super().__init__(dist.logits)

    def __call__(self, value: Tensor) -> list[WeakDerivative]:
        def one_hot(index: Tensor) -> Tensor:
            return torch.nn.functional.one_hot(index, value.shape[-1]).to(value)

        index = value.argmax(-1)
        return [
            WeakDerivative(logit, mass, one_hot(torch.full_like(index, i)), one_hot(o))
            for logit, mass, i, o in self.pairs(index)
        ]


def _exponential(like: Tensor) -> Tensor:
    return torch.empty_like(like).exponential_()
