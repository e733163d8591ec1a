"""Problems that every text on gradient estimation starts from."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor

from pgplugins.core.problem import Expectation, Parameters, Problem
from pgplugins.testing.problems.families import number


def classics() -> list[Problem]:
    """One draw each, in closed form."""
    return [_gaussian_quadratic(), _bernoulli_quadratic(), _softmax_bandit(), _jump()]


def _gaussian_quadratic() -> Problem:
    """``E (x - k)^2 = (mu - k)^2 + s^2``."""
    return Problem(
        "gaussian_quadratic",
        {"mu": number(0.7), "sigma": number(1.3), "target": number(2.0)},
        Expectation(
            lambda p: dist.Normal(p["mu"], p["sigma"]),
            lambda x, p: (x - p["target"]) ** 2,
        ),
        lambda p: (p["mu"] - p["target"]) ** 2 + p["sigma"] ** 2,
    )


def _bernoulli_quadratic() -> Problem:
    """``E (b - t)^2 = q (1 - t)^2 + (1 - q) t^2`` with ``q = sigmoid(logit)``."""

    def expected(p: Parameters) -> Tensor:
        q = p["logit"].sigmoid()
        return q * (1 - p["target"]) ** 2 + (1 - q) * p["target"] ** 2

    return Problem(
        "bernoulli_quadratic",
        {"logit": number(0.3), "target": number(0.2)},
        Expectation(
            lambda p: dist.Bernoulli(logits=p["logit"]),
            lambda x, p: (x - p["target"]) ** 2,
        ),
        expected,
    )


def _softmax_bandit() -> Problem:
    """``J = pi . r``, whose gradient is ``pi_i (r_i - J)``."""
    reward = number(1.0, -0.5, 2.0, 0.3)

    def cost(x: Tensor, p: Parameters) -> Tensor:
        return reward.to(p["preference"])[x.long()]

    def expected(p: Parameters) -> Tensor:
        return (p["preference"].softmax(-1) * reward).sum(-1)

    return Problem(
        "softmax_bandit",
        {"preference": number(0.1, 0.4, -0.3, 0.2)},
        Expectation(lambda p: dist.Categorical(logits=p["preference"]), cost),
        expected,
        differentiable_cost=False,
    )


def _jump() -> Problem:
    """``f = -a^2 + h 1[a > c]``, whose mean the path does not see all of."""
    height, place = 3.0, 0.5

    def expected(p: Parameters) -> Tensor:
        beyond = 0.5 * torch.erfc((place - p["mu"]) / (p["sigma"] * math.sqrt(2.0)))
        return height * beyond - p["mu"] ** 2 - p["sigma"] ** 2

    return Problem(
        "jump",
        {"mu": number(1.0), "sigma": number(1.0)},
        Expectation(
            lambda p: dist.Normal(p["mu"], p["sigma"]),
            lambda x, p: height * (x > place).to(x) - x**2,
        ),
        expected,
        differentiable_cost=False,
    )
