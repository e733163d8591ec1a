"""Unbiased on every problem that the estimator serves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pgplugins.core.problem import Expectation, Problem, Program, Variational
from pgplugins.testing.estimation import Estimation, in_replicates, laws_of
from pgplugins.testing.evidence import look, require_mean
from pgplugins.testing.registry import check
from pgplugins.testing.subject import Subject

_ELEMENTS = 400_000  # numbers drawn at once, at most
_SIZES = (4_000, 32_000, 200_000)
PROGRAM_SIZES = (1_000, 6_000, 40_000)
_LESSON = 2_000


def sizes_for(problem: Problem) -> list[int]:
    """How many replicates each look takes."""
    if not isinstance(problem.objective, Expectation):
        return list(PROGRAM_SIZES)
    law = laws_of(problem)[0]
    numbers = law.batch_shape.numel() * law.event_shape.numel()
    return [max(200, min(size, _ELEMENTS * 4 // numbers)) for size in _SIZES]


@check(
    when=lambda subject: subject.traits.unbiased,
    over=lambda subject: subject.problems,
)
def unbiased_gradient(subject: Subject, case: Problem) -> str:
    """Value and gradient have the exact mean, at first and after learning."""
    every = sizes_for(case)
    resolution = math.inf
    # A bias at first is sought exactly by small_batches; here two looks have to do.
    for particles, warm, sizes in (
        (subject.fewest, False, every[:2]),
        (subject.fewest + 1, True, every),
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
    return f"would see {100 * resolution:.0f}%" if resolution > 1e-6 else "exact"


@check(
    when=lambda subject: not subject.traits.unbiased,
    over=lambda subject: subject.expectations,
)
def declared_bias(subject: Subject, case: Problem) -> str:
    """How far off a declared bias is; reported, not refused."""
    estimation = subject.estimation(case, subject.fewest)
    truth = estimation.replicated_truth
    verdict = look(estimation.replicates(min(32_000, sizes_for(case)[1])), truth)
    found, exact = verdict.mean[1:], truth[1:]
    scale = exact.abs().max().clamp_min(1e-12)
    worst = int((found - exact).abs().argmax())
    return (
        f"{case.coordinates[worst]}: {float(found[worst]):.3g} for "
        f"{float(exact[worst]):.3g}, off by "
        f"{100 * float((found - exact).abs().max() / scale):.0f}% of the gradient"
    )


@check(when=lambda subject: subject.traits.unbiased, over=Subject.canonical)
def many_draws_of_one_law(subject: Subject, case: Problem) -> None:
    """Many draws side by side of a law without batch dimensions."""
    estimation = subject.estimation(case, 64)
    require_mean(
        lambda size: torch.stack([estimation.once() for _ in range(size)]),
        estimation.truth,
        (300, 1500),
        estimation.labels,
        f"the mean of 64 draws on {case.name!r}",
        subject.ledger,
    )


@check(when=lambda subject: subject.traits.unbiased)
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
        sizes_for(problem),
        [labels[i] for i in at],
        f"the estimate on {problem.name!r} with the others constant",
        subject.ledger,
    )


def _variational(subject: Subject) -> Sequence[Problem]:
    return [p for p in subject.problems if isinstance(p.objective, Variational)]


@check(when=lambda subject: subject.traits.unbiased, over=_variational)
def costs_without_gradient(subject: Subject, case: Problem) -> None:
    """``loss_and_grads``, which hands out costs without a gradient where it may."""
    objective = case.objective
    assert isinstance(objective, Variational)
    front = subject.estimation(case, subject.fewest).front(objective, replicated=True)

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
        sizes_for(case),
        case.coordinates,
        f"the gradient that loss_and_grads finds on {case.name!r}",
        subject.ledger,
    )


def _programs(subject: Subject) -> Sequence[Problem]:
    return [p for p in subject.problems if isinstance(p.objective, Program)]


@check(
    when=lambda subject: subject.traits.unbiased and subject.fewest == 1,
    over=_programs,
)
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
