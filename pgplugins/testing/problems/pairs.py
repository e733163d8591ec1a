"""Programs of two sites, one below the other or both under one cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pyro
import torch
from pyro.distributions import Binomial
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pgplugins.core.problem import Expectation, Parameters, Problem, Program
from pgplugins.infer.cost import cost
from pgplugins.testing.problems.families import number
from pgplugins.testing.script import Bell, Coin, Die, normal_rule

_NODES: Final = 24  # what is integrated is smooth, and not always a polynomial


@dataclass(frozen=True)
class Kind:
    """What is drawn at a site, given a number from its parent.

    Args:
        name: For the check's name.
        law: Maps a level and a spread to the law.
        points: Maps them to the points that are summed over and their masses; further
            dimensions on the left.
    """

    name: str
    law: Callable[[Tensor, Tensor], Any]
    points: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def _coin_points(level: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    q = 0.5 + 0.1 * level * spread
    return torch.tensor([0.0, 1.0]).to(q), torch.stack([1 - q, q], -1)


def _die_masses(level: Tensor, spread: Tensor) -> Tensor:
    up, down = 0.3 + 0.1 * level, 0.3 - 0.1 * level * spread
    return torch.stack([1 - up - down, up, down], -1)


def _throw_masses(level: Tensor, spread: Tensor) -> Tensor:
    q = 0.5 + 0.1 * level * spread
    return torch.stack([(1 - q) ** 2, 2 * q * (1 - q), q**2], -1)


def _bell_points(level: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    nodes, masses = map(level.new_tensor, normal_rule(_NODES))
    return level.unsqueeze(-1) + spread.unsqueeze(-1) * nodes, masses


COIN: Final = Kind("coin", lambda m, s: Coin(0.5 + 0.1 * m * s), _coin_points)
DIE: Final = Kind(
    "die",
    lambda m, s: Die(_die_masses(m, s)),
    lambda m, s: (torch.tensor([0.0, 1.0, 2.0]).to(m), _die_masses(m, s)),
)
BELL: Final = Kind("bell", Bell, _bell_points)
THROWS: Final = Kind(
    "throws",
    lambda m, s: Binomial(2, probs=0.5 + 0.1 * m * s),
    lambda m, s: (torch.tensor([0.0, 1.0, 2.0]).to(m), _throw_masses(m, s)),
)


def two_sites(above: Kind, below: Kind, plated: bool) -> Problem:
    """``a``, then ``b`` whose law depends on ``a``, with costs on both."""
    size = 2
    slopes = number(0.6, -0.4)

    def costs(a: Tensor, b: Tensor, p: Parameters) -> tuple[Tensor, Tensor]:
        first = 0.3 * a + 0.9 * a * a + p["weight"] * p["level"] * a
        second = p["weight"] * a * b - 0.7 * b * b + p["spread"] * b
        return first, second

    def slope(p: Parameters) -> Tensor:
        return slopes.to(p["level"]) if plated else slopes[0].to(p["level"])

    def program(p: Parameters) -> None:
        a = pyro.sample("a", above.law(p["level"], p["spread"]))
        a = a.to(p["level"].dtype)

        def inner() -> None:
            b = pyro.sample("b", below.law(p["below"] + slope(p) * a, p["width"]))
            cost("second", costs(a, b.to(a.dtype), p)[1])

        if plated:
            with pyro.plate("elements", size, dim=-1):
                inner()
        else:
            inner()
        cost("first", costs(a, a, p)[0])

    def expected(p: Parameters) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        a, mass = above.points(p["level"].squeeze(), p["spread"].squeeze())
        total = total + (mass * costs(a, a, p)[0]).sum()
        for element in range(size if plated else 1):
            below_level = p["below"].expand(size)[element] if plated else p["below"]
            level = below_level + slopes[element] * a
            b, inner_mass = below.points(level, p["width"].expand_as(level))
            second = (inner_mass * costs(a.unsqueeze(-1), b, p)[1]).sum(-1)
            total = total + (mass * second).sum()
        return total

    def shaped(value: float) -> Tensor:
        return number(value).reshape(1) if plated else number(value)

    return Problem(
        f"{above.name}_above_{below.name}" + ("s" if plated else ""),
        {
            "level": shaped(0.5),
            "spread": shaped(0.8),
            "below": number(0.3, -0.6) if plated else number(0.3),
            "width": shaped(0.9),
            "weight": shaped(1.2),
        },
        Program(program, plates=1 if plated else 0),
        expected,
    )


def beside(one: Kind, other: Kind) -> Problem:
    """``a`` and ``b``, neither of which depends on the other, under one cost."""

    def joined(a: Tensor, b: Tensor, p: Parameters) -> Tensor:
        return (a - 0.3) ** 2 * (1 + b) + p["weight"] * a * b - 0.7 * b * b

    def program(p: Parameters) -> None:
        a = pyro.sample("a", one.law(p["level"], p["spread"]))
        b = pyro.sample("b", other.law(p["other"], p["width"]))
        dtype = p["level"].dtype
        cost("joined", joined(a.to(dtype), b.to(dtype), p))

    def expected(p: Parameters) -> Tensor:
        a, mass = one.points(p["level"], p["spread"])
        b, inner_mass = other.points(p["other"], p["width"])
        both = joined(a.unsqueeze(-1), b, p)
        return (mass.unsqueeze(-1) * inner_mass * both).sum()

    return Problem(
        f"{one.name}_beside_{other.name}",
        {
            "level": number(0.5),
            "spread": number(0.8),
            "other": number(0.3),
            "width": number(0.9),
            "weight": number(1.2),
        },
        Program(program),
        expected,
    )


def can_have_neighbours(problem: Problem) -> bool:
    """Whether its draw can be a site, and its parameters a little larger or smaller."""
    objective = problem.objective
    assert isinstance(objective, Expectation)
    for factor in (0.8, 1.0, 1.2):
        p = {name: factor * value for name, value in problem.parameters.items()}
        try:
            law = objective.law(p)
            expected = problem.expected_cost(p)
        except ValueError:  # not what the law's parameters may be
            return False
        if not isinstance(law, TorchDistributionMixin) or law.batch_shape:
            return False
        if not bool(expected.isfinite()):
            return False
    return True


def below_another(problem: Problem, above: Kind, plated: bool) -> Problem:
    """``a``, then the one draw of ``problem``, whose parameters ``a`` enlarges."""
    objective = problem.objective
    assert isinstance(objective, Expectation)
    size = 2

    def enlarged(p: Parameters, a: Tensor) -> dict[str, Tensor]:
        factor = 1 + 0.2 * a.tanh()
        return {
            name: factor.reshape(factor.shape + (1,) * value.dim()) * p[name]
            for name, value in problem.parameters.items()
        }

    def program(p: Parameters) -> None:
        a = pyro.sample("a", above.law(p["level_above"], p["spread_above"]))
        q = enlarged(p, a.to(p["level_above"].dtype))

        def inner() -> None:
            law: Any = objective.law(q)
            cost("below", objective.cost(pyro.sample("b", law), q))

        if plated:
            with pyro.plate("elements", size, dim=-1):
                inner()
        else:
            inner()

    def expected(p: Parameters) -> Tensor:
        if plated:
            p = {name: value.squeeze(0) for name, value in p.items()}
        points, masses = above.points(p["level_above"], p["spread_above"])
        inner = [problem.expected_cost(enlarged(p, a)) for a in points]
        total: Tensor = (masses * torch.stack(inner)).sum()
        return total * (size if plated else 1)

    own = {"level_above": number(0.5), "spread_above": number(0.8)}
    parameters = {**own, **problem.parameters}
    if plated:
        parameters = {name: value.unsqueeze(0) for name, value in parameters.items()}
    return Problem(
        f"{problem.name}" + ("s" if plated else "") + f"_below_{above.name}",
        parameters,
        Program(program, plates=1 if plated else 0),
        expected,
        differentiable_cost=problem.differentiable_cost,
    )


def above_a_bell(problem: Problem) -> Problem:
    """The one draw of ``problem``, then ``b``: Normal about a multiple of its cost."""
    objective = problem.objective
    assert isinstance(objective, Expectation)

    def program(p: Parameters) -> None:
        law: Any = objective.law(p)
        first = objective.cost(pyro.sample("a", law), p)
        cost("above", first)
        width = torch.ones_like(first)
        cost("below", pyro.sample("b", Bell(p["slope"] * first, width)))

    return Problem(
        f"{problem.name}_above_bell",
        {**problem.parameters, "slope": number(0.7)},
        Program(program),
        lambda p: (1 + p["slope"]) * problem.expected_cost(p),
        differentiable_cost=problem.differentiable_cost,
    )
