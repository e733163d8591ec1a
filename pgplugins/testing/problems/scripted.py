"""Problems whose draws can be told by a script, so that estimates are seen exactly.

Costs are polynomials, so that four nodes integrate what estimators make of them.
"""

from __future__ import annotations

from functools import partial

import pyro.distributions as dist
import torch
from torch import Tensor

from pgplugins.core.problem import Expectation, Parameters, Problem
from pgplugins.testing.problems.families import number
from pgplugins.testing.problems.quadrature import counts, summed
from pgplugins.testing.script import Bell, Coin, Die


def scripted() -> list[Problem]:
    """One draw each."""
    return [_coin(), _rare_coin(), _coins(), _die(), _bell(), _bells(), _bell_vector()]


def joined_costs() -> list[Problem]:
    """Batch elements that meet in one cost."""
    return [_joined_coins(), _joined_bells()]


def _coin() -> Problem:
    def cost(x: Tensor, p: Parameters) -> Tensor:
        return 20 + p["weight"] * x - 3 * (1 - x) * p["logit"]

    objective = Expectation(lambda p: Coin(logits=p["logit"]), cost)
    return Problem(
        "coin",
        {"logit": number(-0.8), "weight": number(1.3)},
        objective,
        partial(summed, objective, counts(1)),
    )


def _rare_coin() -> Problem:
    def cost(x: Tensor, p: Parameters) -> Tensor:
        return 90 * x - 2 + 0.5 * p["probs"]

    objective = Expectation(lambda p: Coin(probs=p["probs"]), cost)
    return Problem(
        "rare_coin",
        {"probs": number(0.004)},
        objective,
        partial(summed, objective, counts(1)),
    )


def _coins() -> Problem:
    def cost(x: Tensor, p: Parameters) -> Tensor:
        return p["weight"] * x + (1 - x) * torch.tensor([2.0, -4.0]).to(x)

    objective = Expectation(lambda p: Coin(probs=p["probs"]), cost)
    return Problem(
        "coins",
        {"probs": number(0.3, 0.8), "weight": number(-0.5, 2.0)},
        objective,
        partial(summed, objective, counts(1)),
    )


def _die() -> Problem:
    def cost(x: Tensor, p: Parameters) -> Tensor:
        return 7 + (p["weight"] * x - 1) ** 2

    objective = Expectation(lambda p: Die(logits=p["logits"]), cost)
    return Problem(
        "die",
        {"logits": number(0.4, -0.9, 0.6), "weight": number(1.6)},
        objective,
        partial(summed, objective, counts(2)),
    )


def _square(x: Tensor, p: Parameters) -> Tensor:
    return 3 + (x - p["target"]) ** 2 + p["loc"] * x


def _expected_square(p: Parameters) -> Tensor:
    square = (p["loc"] - p["target"]) ** 2 + p["scale"] ** 2
    return 3 + square + p["loc"] ** 2


def _bell() -> Problem:
    return Problem(
        "bell",
        {"loc": number(0.7), "scale": number(1.2), "target": number(-0.4)},
        Expectation(lambda p: Bell(p["loc"], p["scale"]), _square),
        _expected_square,
    )


def _bells() -> Problem:
    return Problem(
        "bells",
        {
            "loc": number(0.7, -1.0),
            "scale": number(1.2, 0.6),
            "target": number(-0.4, 0.5),
        },
        Expectation(lambda p: Bell(p["loc"], p["scale"]), _square),
        _expected_square,
    )


def _bell_vector() -> Problem:
    def cost(x: Tensor, p: Parameters) -> Tensor:
        return p["weight"] * x[..., 0] * x[..., 1] + (x[..., 0] - 1) ** 2 + 2

    def expected(p: Parameters) -> Tensor:
        loc, scale = p["loc"], p["scale"]
        cross = p["weight"] * loc[..., 0] * loc[..., 1]
        return cross + (loc[..., 0] - 1) ** 2 + scale[..., 0] ** 2 + 2

    return Problem(
        "bell_vector",
        {"loc": number(0.7, -1.0), "scale": number(1.2, 0.6), "weight": number(1.5)},
        Expectation(lambda p: dist.Independent(Bell(p["loc"], p["scale"]), 1), cost),
        expected,
    )


def _joined_coins() -> Problem:
    def cost(x: Tensor, p: Parameters) -> Tensor:
        return p["weight"] * x[..., 0] * (2 - 3 * x[..., 1]) + x[..., 1] + 5

    def expected(p: Parameters) -> Tensor:
        first, second = p["probs"][..., 0], p["probs"][..., 1]
        return p["weight"] * first * (2 - 3 * second) + second + 5

    return Problem(
        "joined_coins",
        {"probs": number(0.3, 0.6), "weight": number(1.4)},
        Expectation(lambda p: Coin(probs=p["probs"]), cost),
        expected,
    )


def _joined_bells() -> Problem:
    def cost(x: Tensor, p: Parameters) -> Tensor:
        return p["weight"] * x[..., 0] * x[..., 1] + x[..., 1] ** 2 + 5

    def expected(p: Parameters) -> Tensor:
        loc, scale = p["loc"], p["scale"]
        cross = p["weight"] * loc[..., 0] * loc[..., 1]
        return cross + loc[..., 1] ** 2 + scale[..., 1] ** 2 + 5

    return Problem(
        "joined_bells",
        {"loc": number(0.7, -1.0), "scale": number(1.2, 0.6), "weight": number(1.4)},
        Expectation(lambda p: Bell(p["loc"], p["scale"]), cost),
        expected,
    )
