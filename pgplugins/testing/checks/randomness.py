"""Randomness comes from torch's generator, and from nowhere else."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from pgplugins.core.parts import element
from pgplugins.core.points import support_size
from pgplugins.core.problem import Problem
from pgplugins.testing.estimation import laws_of
from pgplugins.testing.evidence import CheckFailed, look
from pgplugins.testing.registry import check
from pgplugins.testing.subject import Sitting, Subject


def _estimates(subject: Subject, problem: Problem, seed: int) -> torch.Tensor:
    """Three estimates in a row, so that what was learned counts as well."""
    torch.manual_seed(seed)
    estimation = subject.estimation(problem, max(2, subject.fewest))
    return torch.stack([estimation.once() for _ in range(3)])


def _numpy_state() -> list[int]:
    state: Any = np.random.get_state()
    return [*state[1].tolist(), state[2]]


@check()
def seeds_reproduce(subject: Subject) -> None:
    """The same seed of torch gives the same estimates, bit by bit."""
    for problem in subject.problems:
        first, second = (_estimates(subject, problem, 5) for _ in range(2))
        if not torch.equal(first, second):
            raise CheckFailed(
                f"torch.manual_seed(5) gave two different estimates on {problem.name!r}"
                f": {first[0].tolist()} and {second[0].tolist()}. Draw with torch only"
            )


@check()
def other_generators_are_left_alone(subject: Subject) -> None:
    """Neither Python's nor NumPy's generator matters, and neither is moved."""
    for problem in subject.canonical():
        states = random.getstate(), np.random.get_state()
        try:
            found = []
            for seed in (1, 2):
                random.seed(seed)
                np.random.seed(seed)
                before = random.getstate(), _numpy_state()
                found.append(_estimates(subject, problem, 5))
                after = random.getstate(), _numpy_state()
                if before != after:
                    raise CheckFailed(
                        "it draws from Python's or NumPy's generator on "
                        f"{problem.name!r}; draw with torch only"
                    )
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
        if not torch.equal(*found):
            raise CheckFailed(
                f"the seeds of Python and NumPy change the estimate on {problem.name!r}"
            )


def _enumerates(subject: Subject) -> str | None:
    rows = subject.traits.cost_evaluations
    return "its rows are the support" if rows == "support" else None


@check(unless=_enumerates)
def draws_are_fresh(subject: Subject) -> None:
    """Every draw is new: it moves torch's generator on, and never sets it."""
    open_ended = [p for p in subject.expectations if not _exhausted(subject, p)]
    for problem in subject.canonical(open_ended):
        sitting = Sitting(problem, subject.fresh(), particles=40)
        again = sitting.take().value
        if torch.equal(sitting.draw.value, again):
            raise CheckFailed(f"two draws in a row are the same on {problem.name!r}")
        other: list[torch.Tensor] = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            other.append(sitting.take().value)
        if torch.equal(*other):
            raise CheckFailed(
                f"two seeds of torch give the same draws on {problem.name!r}"
            )


def _exhausted(subject: Subject, problem: Problem) -> bool:
    """Whether a draw has every point of the support: nothing is left to chance."""
    (law,) = laws_of(problem)
    if not element(law).has_enumerate_support:
        return False
    return subject.rows(law) == support_size(law)


@check()
def particles_are_independent(subject: Subject) -> None:
    """Draws side by side, and batch elements, do not know one another."""
    for problem in subject.expectations:
        _require_uncorrelated(subject, problem)


def _require_uncorrelated(subject: Subject, problem: Problem) -> None:
    """Test that products of neighbouring estimates have the product of their means."""
    (law,) = laws_of(problem)
    size = subject.affordable(20_000, law) // 2 * 2  # in pairs
    estimator = subject.fresh()
    with torch.no_grad():
        sitting = Sitting(problem, estimator, particles=size)
        found = sitting.averaged(sitting.draw, sitting.cost)
        exact = problem.expected_cost(problem.parameters)
        if not subject.traits.unbiased:
            exact = found.mean(0)
        centred = (found - exact).reshape(size, -1)
        # Neighbours along the particles, and along the batch.
        pairs = [centred[0::2] * centred[1::2]]
        if centred.shape[1] > 1:
            pairs.append(centred[:, 1:] * centred[:, :-1])
    for pair, what in zip(pairs, ("particles", "batch elements"), strict=False):
        verdict = look(pair, torch.zeros(pair.shape[1]).double(), subject.ledger)
        if verdict.ratio > 1:
            scale = centred.square().mean()
            raise CheckFailed(
                f"neighbouring {what} are correlated on {problem.name!r}: "
                f"{float(verdict.mean[verdict.worst] / scale):.2f}, "
                f"{verdict.z:.1f} standard errors from zero. Draw every one by itself"
            )


def _no_independent_rows(subject: Subject) -> str | None:
    if subject.traits.cost_evaluations == 1:
        return "it draws one row"
    if not subject.traits.independent_rows:
        return "its rows are declared to depend on one another"
    return _enumerates(subject)


@check(unless=_no_independent_rows)
def rows_are_independent(subject: Subject) -> None:
    """Rows that are declared independent are uncorrelated."""
    for problem in subject.canonical():
        with torch.no_grad():
            sitting = Sitting(problem, subject.fresh(), particles=20_000)
            exact = problem.expected_cost(problem.parameters)
            if sitting.draw.rows < 2:
                return  # which rows_are_as_declared has seen
            centred = (sitting.cost - exact).reshape(sitting.draw.rows, -1)
        products = centred[0] * centred[1]
        verdict = look(products.unsqueeze(-1), torch.zeros(1).double(), subject.ledger)
        if verdict.ratio > 1:
            raise CheckFailed(
                f"rows are correlated on {problem.name!r} ({verdict.z:.1f} standard "
                "errors); write Traits(independent_rows=False)"
            )
