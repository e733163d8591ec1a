"""Sites compose: the estimator above, below and beside others, and itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch

from pgplugins.core.estimator import Estimator
from pgplugins.core.problem import Problem
from pgplugins.plugins import Site
from pgplugins.testing.checks.exact import exactly
from pgplugins.testing.checks.gradients import PROGRAM_SIZES
from pgplugins.testing.estimation import Estimation
from pgplugins.testing.evidence import require_mean
from pgplugins.testing.problems.pairs import (
    BELL,
    COIN,
    DIE,
    THROWS,
    Kind,
    above_a_bell,
    below_another,
    beside,
    can_have_neighbours,
    two_sites,
)
from pgplugins.testing.registry import biased, check
from pgplugins.testing.subject import Subject

_PARTNERS: Final = (
    ("score_function", COIN),
    ("enumerate", COIN),
    ("score_function", BELL),
    ("reparameterized", BELL),
)


_NO_PAIRS: Final = (
    "it serves no one-draw problem that can be made a program of two sites"
)


@dataclass(frozen=True)
class Pair:
    """A program of two sites, with the estimator of either."""

    name: str
    problem: Problem
    estimators: tuple[str | None, str | None]  # None is the one under test


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
    if not kinds:
        return _pairs_of_others(subject)
    return _pairs_of_kinds(kinds)


def _pairs_of_kinds(kinds: list[Kind]) -> list[Pair]:
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
        neighbours = beside(kind, kind)
        pairs.append(Pair(neighbours.name, neighbours, (None, None)))
        for plated in (False, True):
            both = two_sites(kind, kind, plated)
            pairs.append(Pair(f"{both.name}_both", both, (None, None)))
    return pairs


def _pairs_of_others(subject: Subject) -> list[Pair]:
    """Where it serves none of the kinds: a problem of one draw that it does serve."""
    fit = [p for p in subject.expectations if can_have_neighbours(p)]
    pairs = []
    for problem in fit[:1]:
        for estimator, other in _PARTNERS:
            for plated in (False, True):
                below = below_another(problem, other, plated)
                name = f"{below.name}_by_{estimator}"
                pairs.append(Pair(name, below, (estimator, None)))
        for estimator in ("score_function", "reparameterized"):
            above = above_a_bell(problem)
            name = f"{above.name}_by_{estimator}"
            pairs.append(Pair(name, above, (None, estimator)))
    return pairs


@check(unless=biased, over=_pairs, none=_NO_PAIRS)
def composition(subject: Subject, case: Pair) -> str:
    """Right above and below other estimators' sites, and under a plate."""
    start = Estimation(case.problem, _choice(subject.fresh(), case), subject.fewest)
    what = f"the estimate on {case.problem.name!r}"
    remark = exactly(lambda: start.copy().once(), start.truth, start.labels, what)
    if remark is None:
        return "exact"
    require_mean(
        start.replicates,
        start.replicated_truth,
        PROGRAM_SIZES,
        start.replicated_labels,
        what,
        subject.ledger,
    )
    return remark


@check(unless=biased, over=lambda s: _pairs(s)[-2:], none=_NO_PAIRS)
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
