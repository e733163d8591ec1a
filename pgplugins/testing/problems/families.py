"""One random number of every family, with a bounded cost.

The costs have an odd part, an even part and a weight of their own, so that no parameter
has a gradient of zero, and they are bounded, so that score estimates have light tails.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.transforms import (
    AffineTransform,
    SigmoidTransform,
    TanhTransform,
)

from pgplugins.core.problem import Expectation, Parameters, Problem
from pgplugins.testing.problems.quadrature import (
    Points,
    counts,
    half_line,
    open_interval,
    real_line,
    summed,
    unit_interval,
)


def number(*values: float) -> Tensor:
    """A parameter: a scalar from one number, else a vector."""
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.float64)


def bend(x: Tensor, weight: Tensor, centre: float, width: float = 1.0) -> Tensor:
    """A bounded cost with an odd and an even part about ``centre``."""
    odd = ((x.to(weight.dtype) - centre) / width).tanh()
    return weight * odd + 3 * odd * odd - 1


def family(
    name: str,
    law: Callable[[Parameters], Distribution],
    points: Points,
    centre: float,
    width: float = 1.0,
    /,
    **parameters: Tensor,
) -> Problem:
    """A problem with the bounded cost, summed over points."""

    def cost(x: Tensor, p: Parameters) -> Tensor:
        return bend(x, p["weight"], centre, width)

    objective = Expectation(law, cost)
    return Problem(
        name,
        {**parameters, "weight": number(1.5)},
        objective,
        partial(summed, objective, points),
    )


def discrete() -> list[Problem]:
    """Counts and choices."""
    return [
        family(
            "bernoulli_logits",
            lambda p: dist.Bernoulli(logits=p["logits"]),
            counts(1),
            0.3,
            logits=number(0.4),
        ),
        family(
            "bernoulli_probs",
            lambda p: dist.Bernoulli(probs=p["probs"]),
            counts(1),
            0.6,
            probs=number(0.35),
        ),
        family(
            "categorical_logits",
            lambda p: dist.Categorical(logits=p["logits"]),
            counts(2),
            0.7,
            logits=number(0.2, -0.4, 0.5),
        ),
        family(
            "categorical_probs",
            lambda p: dist.Categorical(probs=p["probs"]),
            counts(3),
            1.2,
            probs=number(0.3, 0.2, 0.4, 0.1),
        ),
        family(
            "binomial",
            lambda p: dist.Binomial(4, probs=p["probs"]),
            counts(4),
            1.5,
            1.5,
            probs=number(0.45),
        ),
        family(
            "poisson",
            lambda p: dist.Poisson(p["rate"]),
            counts(60),
            2.0,
            2.0,
            rate=number(2.3),
        ),
        family(
            "geometric",
            lambda p: dist.Geometric(probs=p["probs"]),
            counts(300),
            0.5,
            2.0,
            probs=number(0.45),
        ),
    ]


def continuous() -> list[Problem]:
    """Real numbers, positive numbers and proportions."""
    return [
        family(
            "normal",
            lambda p: dist.Normal(p["loc"], p["scale"]),
            real_line(),
            0.1,
            loc=number(0.4),
            scale=number(0.8),
        ),
        family(
            "laplace",
            lambda p: dist.Laplace(p["loc"], p["scale"]),
            # A kink at the mean: a rule whose points it is not among.
            real_line(30.0, 400_001),
            0.1,
            loc=number(0.437),
            scale=number(0.6),
        ),
        family(
            "log_normal",
            lambda p: dist.LogNormal(p["loc"], p["scale"]),
            half_line(),
            1.0,
            loc=number(0.2),
            scale=number(0.5),
        ),
        family(
            "exponential",
            lambda p: dist.Exponential(p["rate"]),
            half_line(),
            0.8,
            rate=number(1.4),
        ),
        family(
            "gamma",
            lambda p: dist.Gamma(p["concentration"], p["rate"]),
            half_line(),
            1.6,
            concentration=number(2.5),
            rate=number(1.6),
        ),
        family(
            "beta",
            lambda p: dist.Beta(p["concentration1"], p["concentration0"]),
            unit_interval(),
            0.35,
            0.4,
            concentration1=number(2.0),
            concentration0=number(3.0),
        ),
        family(
            "squashed_normal",
            lambda p: dist.TransformedDistribution(
                dist.Normal(p["loc"], p["scale"]), [TanhTransform(cache_size=1)]
            ),
            open_interval(),
            0.1,
            0.7,
            loc=number(0.3),
            scale=number(0.6),
        ),
        family(
            "scaled_logistic_normal",
            lambda p: dist.TransformedDistribution(
                dist.Normal(p["loc"], p["scale"]),
                [SigmoidTransform(), AffineTransform(-1.0, 3.0)],
            ),
            _stretched(unit_interval(), -1.0, 3.0),
            0.5,
            0.8,
            loc=number(-0.2),
            scale=number(0.9),
        ),
    ]


def _stretched(points: Points, shift: float, factor: float) -> Points:
    return Points(shift + factor * points.values, factor * points.weights)
