"""Sites compose: the estimator above and below others, and above and below itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pyro
import torch
from torch import Tensor
from torch.distributions import Binomial

from pgplugins.core.estimator import Estimator
from pgplugins.core.problem import Parameters, Problem, Program
from pgplugins.infer.cost import cost
from pgplugins.plugins import Site
from pgplugins.testing.checks.exact import exactly
from pgplugins.testing.checks.gradients import PROGRAM_SIZES
from pgplugins.testing.estimation import Estimation
from pgplugins.testing.evidence import require_mean
from pgplugins.testing.problems.families import number
from pgplugins.testing.registry import check
from pgplugins.testing.script import NODES, Bell, Coin, Die, normal_rule
from pgplugins.testing.subject import Subject


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
    nodes, masses = map(level.new_tensor, normal_rule(NODES))
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
_PARTNERS: Final = (
    ("score_function", COIN),
    ("enumerate", COIN),
    ("score_function", BELL),
    ("reparameterized", BELL),
)


@dataclass(frozen=True)
class Pair:
    """A program of two sites, with the estimator of either."""

    name: str
    problem: Problem
    estimators: tuple[str | None, str | None]  # None is the one under test


def two_sites(above: Kind, below: Kind, plated: bool) -> Problem:
    """``a``, then ``b`` whose law depends on ``a``, with costs on both."""
    size = 2
    slopes = number(0.6, -0.4)

    def costs(a: Tensor, b: Tensor, p: Parameters) -> tuple[Tensor, Tensor]:
        first = 1.5 * a - 0.3 * a * a + p["weight"] * p["level"] * a
        second = p["weight"] * a * b - 0.4 * b * b + p["spread"] * b + 2
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
            "width": shaped(0.7),
            "weight": shaped(1.2),
        },
        Program(program, plates=1 if plated else 0),
        expected,
    )


def _pairs(subject: Subject) -> list[Pair]:
    """Every partner above and below, then the estimator at both sites."""
    zero, one = (
        torch.zeros((), dtype=torch.float64),
        torch.ones((), dtype=torch.float64),
    )
    served = [k for k in (COIN, BELL, DIE, THROWS) if subject.serves(k.law(zero, one))]
    kinds = [k for k in (COIN, BELL) if k in served] or served[:1]
    if DIE in served and subject.traits.cost_evaluations == "size":
        # A size of two leaves nothing of a coin to draw.
        kinds = [DIE if k is COIN else k for k in kinds]
    pairs = []
    for kind in kinds:
        for estimator, other in _PARTNERS:
            about = f"{estimator}_{other.name}"
            for plated in (False, True):
                s = "s" if plated else ""
                below = two_sites(other, kind, plated)
                pairs.append(
                    Pair(f"{kind.name}{s}_below_{about}", below, (estimator, None))
                )
                above = two_sites(kind, other, plated)
                pairs.append(
                    Pair(f"{kind.name}_above_{about}{s}", above, (None, estimator))
                )
        for plated in (False, True):
            both = two_sites(kind, kind, plated)
            pairs.append(Pair(f"{both.name}_both", both, (None, None)))
    return pairs


@check(when=lambda subject: subject.traits.unbiased, over=_pairs)
def composition(subject: Subject, case: Pair) -> str | None:
    """Right above and below other estimators' sites, and under a plate."""
    start = Estimation(case.problem, _choice(subject.fresh(), case), subject.fewest)
    what = f"the estimate on {case.problem.name!r}"
    remark = exactly(lambda: start.copy().once(), start.truth, start.labels, what)
    if remark is not None:
        require_mean(
            start.replicates,
            start.replicated_truth,
            PROGRAM_SIZES,
            start.replicated_labels,
            what,
            subject.ledger,
        )
    return remark


@check(when=lambda subject: subject.traits.unbiased, over=lambda s: _pairs(s)[-2:])
def side_by_side(subject: Subject, case: Pair) -> None:
    """Programs whose particles run side by side."""
    estimation = Estimation(case.problem, _choice(subject.fresh(), case), 3)
    require_mean(
        estimation.replicates,
        estimation.replicated_truth,
        PROGRAM_SIZES,
        estimation.replicated_labels,
        f"the estimate on {case.problem.name!r} with three particles",
        subject.ledger,
    )


def _choice(estimator: Estimator, case: Pair) -> Callable[[Site], Estimator | str]:
    chosen = dict(zip(("a", "b"), case.estimators, strict=True))

    def choose(site: Site) -> Estimator | str:
        return chosen[site.name] or estimator

    return choose
