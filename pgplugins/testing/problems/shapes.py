"""Batches and events: several elements with one law, and vectors drawn as one."""

from __future__ import annotations

from functools import partial

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.problem import Expectation, Parameters, Problem
from pgplugins.testing.problems.families import bend, number
from pgplugins.testing.problems.quadrature import Points, counts, real_line, summed


def batched() -> list[Problem]:
    """Every batch element has a cost of its own."""
    return [_batched_bernoulli(), _batched_normal(), _shared_normal()]


def joined() -> list[Problem]:
    """Vectors, whose elements meet in the cost."""
    return [
        _one_hot(),
        _bernoulli_event(),
        _normal_event(),
        _multivariate_normal(),
        _dirichlet(),
        _wide_normal(),
    ]


def _batched_bernoulli() -> Problem:
    def cost(x: Tensor, p: Parameters) -> Tensor:
        return p["weight"] * x + (1 - x) * torch.tensor([2.0, -1.0, 0.5]).to(x)

    objective = Expectation(lambda p: dist.Bernoulli(logits=p["logits"]), cost)
    return Problem(
        "batched_bernoulli",
        {"logits": number(0.3, -0.6, 1.0), "weight": number(-0.5, 1.0, 2.0)},
        objective,
        partial(summed, objective, counts(1)),
    )


def _batched_normal() -> Problem:
    def cost(x: Tensor, p: Parameters) -> Tensor:
        return bend(x, p["weight"], 0.2)

    objective = Expectation(lambda p: dist.Normal(p["loc"], p["scale"]), cost)
    return Problem(
        "batched_normal",
        {
            "loc": number(0.4, -0.5),
            "scale": number(0.7, 1.1),
            "weight": number(1.5, -2.0),
        },
        objective,
        partial(summed, objective, real_line()),
    )


def _shared_normal() -> Problem:
    """Batch elements that share their parameters, which the cost depends on as well."""

    def law(p: Parameters) -> Distribution:
        loc, scale = p["loc"].unsqueeze(-1), p["scale"].unsqueeze(-1)
        made: Distribution = dist.Normal(loc, scale).expand((*p["loc"].shape, 3))
        return made

    def cost(x: Tensor, p: Parameters) -> Tensor:
        shift = torch.tensor([-0.4, 0.1, 0.5]).to(x)
        bent = (x - 0.5 * p["loc"].unsqueeze(-1) - shift).tanh()
        return bent + 3 * p["scale"].unsqueeze(-1) * (bent * bent - 0.3)

    objective = Expectation(law, cost)
    return Problem(
        "shared_normal",
        {"loc": number(0.6), "scale": number(0.8)},
        objective,
        partial(summed, objective, real_line()),
    )


def _one_hot() -> Problem:
    def cost(x: Tensor, p: Parameters) -> Tensor:
        return (x * p["reward"]).sum(-1)

    objective = Expectation(lambda p: dist.OneHotCategorical(logits=p["logits"]), cost)
    corners = torch.eye(3, dtype=torch.float64)
    return Problem(
        "one_hot_categorical",
        {"logits": number(0.5, -0.2, 0.1), "reward": number(1.0, -1.0, -0.4)},
        objective,
        partial(summed, objective, Points(corners, torch.ones(3).double())),
    )


def _bernoulli_event() -> Problem:
    def cost(x: Tensor, p: Parameters) -> Tensor:
        return p["weight"] * (2 * x[..., 0] - x[..., 1]) * (x[..., 2] - 0.3) + x[..., 0]

    objective = Expectation(
        lambda p: dist.Bernoulli(logits=p["logits"]).to_event(1), cost
    )
    bits = torch.tensor([0.0, 1.0], dtype=torch.float64)
    corners = torch.cartesian_prod(bits, bits, bits)
    return Problem(
        "bernoulli_event",
        {"logits": number(0.4, -0.5, 0.8), "weight": number(1.5)},
        objective,
        partial(summed, objective, Points(corners, torch.ones(8).double())),
    )


def _normal_event() -> Problem:
    """``E sin(u.x) = sin(u.m) exp(-u'Su/2)`` for a Normal vector, here diagonal."""
    u = number(1.0, -0.7)

    def cost(x: Tensor, p: Parameters) -> Tensor:
        phase = (x * u.to(x)).sum(-1)
        return p["weight"] * phase.sin() + 1.5 * (phase - 0.4).cos()

    def expected(p: Parameters) -> Tensor:
        mean = (u * p["loc"]).sum(-1)
        damping = (-0.5 * (u * p["scale"]).square().sum(-1)).exp()
        return damping * (p["weight"] * mean.sin() + 1.5 * (mean - 0.4).cos())

    return Problem(
        "normal_event",
        {"loc": number(0.5, 0.3), "scale": number(0.9, 0.8), "weight": number(1.2)},
        Expectation(lambda p: dist.Normal(p["loc"], p["scale"]).to_event(1), cost),
        expected,
    )


def _factor(p: Parameters) -> Tensor:
    a, b = p["diagonal"][..., 0], p["diagonal"][..., 1]
    first = torch.stack([a, torch.zeros_like(a)], -1)
    return torch.stack([first, torch.stack([p["below"], b], -1)], -2)


def _multivariate_normal() -> Problem:
    u = number(0.8, 0.9)

    def cost(x: Tensor, p: Parameters) -> Tensor:
        phase = (x * u.to(x)).sum(-1)
        return 1.5 * phase.sin() + 1.5 * (phase - 0.5).cos()

    def expected(p: Parameters) -> Tensor:
        mean = (u * p["loc"]).sum(-1)
        spread = (_factor(p).mT @ u).square().sum(-1)
        return (-0.5 * spread).exp() * 1.5 * (mean.sin() + (mean - 0.5).cos())

    return Problem(
        "multivariate_normal",
        {"loc": number(0.5, 0.3), "diagonal": number(0.8, 0.7), "below": number(0.5)},
        Expectation(
            lambda p: dist.MultivariateNormal(p["loc"], scale_tril=_factor(p)), cost
        ),
        expected,
    )


def _dirichlet() -> Problem:
    """``E x_i x_j = a_i (a_j + [i = j]) / (A (A + 1))`` with ``A`` the sum."""
    linear = number(1.0, -1.0, 0.5)
    square = torch.tensor(
        [[2.0, -1.0, 0.0], [-1.0, 3.0, 1.0], [0.0, 1.0, -2.0]], dtype=torch.float64
    )

    def cost(x: Tensor, p: Parameters) -> Tensor:
        quadratic = ((x @ square.to(x)) * x).sum(-1)
        return 4 * (x * linear.to(x)).sum(-1) + 4 * quadratic

    def expected(p: Parameters) -> Tensor:
        a = p["concentration"]
        total = a.sum(-1, keepdim=True)
        second = (a.unsqueeze(-1) * a.unsqueeze(-2) + torch.diag_embed(a)) / (
            total * (total + 1)
        ).unsqueeze(-1)
        return 4 * (linear * a / total).sum(-1) + 4 * (square * second).sum((-1, -2))

    return Problem(
        "dirichlet",
        {"concentration": number(1.5, 2.0, 2.5)},
        Expectation(lambda p: dist.Dirichlet(p["concentration"]), cost),
        expected,
    )


def _wide_normal() -> Problem:
    """A vector of many elements, all with the same parameters by design."""
    width = 200

    def law(p: Parameters) -> Distribution:
        loc, scale = p["loc"].unsqueeze(-1), p["scale"].unsqueeze(-1)
        made: Distribution = (
            dist.Normal(loc, scale).expand((*p["loc"].shape, width)).to_event(1)
        )
        return made

    def cost(x: Tensor, p: Parameters) -> Tensor:
        # Centred: with a mean cost the score's noise would drown its signal.
        return 4 * x.mean(-1).sin() + x.square().mean(-1) - 3

    def expected(p: Parameters) -> Tensor:
        damping = (-0.5 * p["scale"].square() / width).exp()
        square = p["loc"].square() + p["scale"].square()
        return 4 * damping * p["loc"].sin() + square - 3

    return Problem(
        "wide_normal",
        {"loc": number(0.5), "scale": number(0.9)},
        Expectation(law, cost),
        expected,
    )
