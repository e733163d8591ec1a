"""Unbiased on every problem that the estimator serves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pgplugins.core.problem import Expectation, Problem, Program, Variational
from pgplugins.testing.estimation import Estimation, in_replicates, laws_of
from pgplugins.testing.evidence import look, require_mean
from pgplugins.testing.registry import biased, check
from pgplugins.testing.subject import Subject

_SIZES = (4_000, 12_000, 32_000, 80_000, 300_000)
AT_FIRST = 32_000
PROGRAM_SIZES = (1_000, 3_000, 6_000, 15_000, 40_000, 300_000)
_LESSON = 2_000


def sizes_for(subject: Subject, problem: Problem, most: int = _SIZES[-1]) -> list[int]:
    """How many replicates each look has in all, up to about ``most``."""
    if not isinstance(problem.objective, Expectation):
        return [size for size in PROGRAM_SIZES if size <= most]
    law = laws_of(problem)[0]
    return sorted({subject.affordable(size, law) for size in _SIZES if size <= most})


@check(unless=biased, over=lambda subject: subject.problems)
def unbiased_gradient(subject: Subject, case: Problem) -> None:
    """Value and gradient have the exact mean, at first and after learning."""
    resolution = math.inf
    # A bias at first is sought exactly by small_batches; here fewer have to do.
    for particles, warm, sizes in (
        (subject.fewest, False, sizes_for(subject, case, AT_FIRST)),
        (subject.fewest + 1, True, sizes_for(subject, case)),
    ):
        estimation = subject.estimation(case, particles)
        if warm:
            estimation.replicates(min(_LESSON, sizes[0]))
        start = estimation

        def draw(size: int, start: Estimation = start, warm: bool = warm) -> Tensor:
            return (start if warm else start.copy()).replicates(size)

        verdict = require_mean(
            draw,
            estimation.replicated_truth,
            sizes,
            estimation.replicated_labels,
            f"the estimate on {case.name!r} with {particles} draw(s)"
            + (" after learning" if warm else ""),
            subject.ledger,
        )
        resolution = min(resolution, verdict.resolution)
    # What is wrong at first and later is seen by the finer of the two.
    subject.ledger.resolution = resolution


def _unbiased(subject: Subject) -> str | None:
    return "no bias is declared" if subject.traits.unbiased else None


@check(unless=_unbiased, over=lambda subject: subject.expectations)
def declared_bias(subject: Subject, case: Problem) -> str:
    """How far off a declared bias is; reported, not refused."""
    estimation = subject.estimation(case, subject.fewest)
    truth = estimation.replicated_truth
    size = sizes_for(subject, case, AT_FIRST)[-1]
    verdict = look(estimation.replicates(size), truth)
    found, exact = verdict.mean[1:], truth[1:]
    scale = exact.abs().max().clamp_min(1e-12)
    worst = int((found - exact).abs().argmax())
    return (
        f"{case.coordinates[worst]}: {float(found[worst]):.3g} for "
        f"{float(exact[worst]):.3g}, off by "
        f"{100 * float((found - exact).abs().max() / scale):.0f}% of the gradient"
    )


@check(unless=biased, over=Subject.canonical)
def many_draws_of_one_law(subject: Subject, case: Problem) -> None:
    """Many draws side by side of a law without batch dimensions."""
    estimation = subject.estimation(case, 256)
    require_mean(
        lambda size: torch.stack([estimation.once() for _ in range(size)]),
        estimation.truth,
        (300, 1500),
        estimation.labels,
        f"the mean of 256 draws on {case.name!r}",
        subject.ledger,
    )


@check(unless=biased)
def some_parameters_constant(subject: Subject) -> None:
    """Right for each parameter when it alone is differentiated for."""
    for problem in subject.canonical():
        for name in problem.parameters:
            _require_alone(subject, problem, name)
        Estimation(problem, subject.fresh(), subject.fewest, varied=()).once()


def _require_alone(subject: Subject, problem: Problem, name: str) -> None:
    estimation = Estimation(problem, subject.fresh(), subject.fewest, varied={name})
    labels = estimation.replicated_labels
    at = [i for i, label in enumerate(labels) if label.split("[")[0] == name]
    require_mean(
        lambda size: estimation.replicates(size)[:, at],
        estimation.replicated_truth[at],
        sizes_for(subject, problem),
        [labels[i] for i in at],
        f"the estimate on {problem.name!r} with the others constant",
        subject.ledger,
    )


def _variational(subject: Subject) -> Sequence[Problem]:
    return [p for p in subject.problems if isinstance(p.objective, Variational)]


@check(
    unless=biased,
    over=_variational,
    none="it serves no site of a variational problem",
)
def costs_without_gradient(subject: Subject, case: Problem) -> None:
    """``loss_and_grads``, which hands out costs without a gradient where it may."""
    objective = case.objective
    assert isinstance(objective, Variational)
    estimation = subject.estimation(case, subject.fewest + 1)
    front = estimation.front(objective, replicated=True)

    def draw(size: int) -> Tensor:
        inside = in_replicates(size, objective.plates)
        leaves = case.leaves(size)
        front.loss_and_grads(inside(objective.model), inside(objective.guide), leaves)
        return torch.cat(
            [
                (torch.zeros_like(v) if v.grad is None else v.grad).reshape(size, -1)
                for v in leaves.values()
            ],
            -1,
        )

    require_mean(
        draw,
        case.gradient(),
        sizes_for(subject, case),
        case.coordinates,
        f"the gradient that loss_and_grads finds on {case.name!r}",
        subject.ledger,
    )


def _programs(subject: Subject) -> Sequence[Problem]:
    return [p for p in subject.problems if isinstance(p.objective, Program)]


def _not_one_by_one(subject: Subject) -> str | None:
    if subject.fewest > 1:
        return f"it needs {subject.fewest} draws side by side"
    return biased(subject)


@check(unless=_not_one_by_one, over=_programs, none="it serves no site of a program")
def particles_one_by_one(subject: Subject, case: Problem) -> None:
    """Particles that are run one after another, and the state that they share."""
    estimation = subject.estimation(case, 2, vectorized=False)
    require_mean(
        estimation.replicates,
        estimation.replicated_truth,
        PROGRAM_SIZES,
        estimation.replicated_labels,
        f"the estimate on {case.name!r} with particles one by one",
        subject.ledger,
    )
