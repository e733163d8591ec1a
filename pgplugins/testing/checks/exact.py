"""Small batches, seen exactly: a state that has seen the current draw shows most here.

The draws are told by a script and every path is run, so a right estimator agrees with
the truth to rounding. An estimator that draws in ways of its own is sampled instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pgplugins.core.problem import Problem
from pgplugins.testing.estimation import Estimation, laws_of
from pgplugins.testing.evidence import CheckFailed, require_mean
from pgplugins.testing.problems.scripted import joined_costs, scripted
from pgplugins.testing.registry import check
from pgplugins.testing.script import Bell, exact_mean
from pgplugins.testing.subject import Subject

_LOOPS = (500, 3000)
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Case:
    """A few estimates in a row.

    Args:
        name: What the check is called.
        problem: What is estimated.
        particles: Draws per estimate.
        steps: Estimates in a row.
        warm: Estimates from ordinary draws before the first that counts.
    """

    name: str
    problem: Problem
    particles: int
    steps: int
    warm: int = 0


_PLANS: dict[str, Sequence[tuple[int, int]]] = {
    # (particles, estimates in a row): as many as there are paths to run in no time
    "coin": [(1, 5), (2, 2), (3, 1)],
    "rare_coin": [(1, 3), (2, 1)],
    "coins": [(1, 2), (2, 1)],
    "die": [(1, 3), (2, 1)],
    "bell": [(1, 3), (2, 1)],
    "bells": [(1, 1)],
    "bell_vector": [(1, 1)],
    "joined_coins": [(1, 2), (2, 1)],
    "joined_bells": [(1, 1)],
}
_WARM = {"coin", "die", "bell", "joined_coins"}


def _cases(subject: Subject) -> list[Case]:
    cases = []
    problems = scripted()
    if not subject.traits.many_rows:
        problems += joined_costs()
    for problem in problems:
        if not subject.serves(laws_of(problem)[0]):
            continue
        for particles, steps in _PLANS[problem.name]:
            if particles < subject.fewest:
                continue
            name = f"{problem.name}_n{particles}"
            cases.append(Case(name, problem, particles, steps))
            if problem.name in _WARM:
                cases.append(Case(f"{name}_warm", problem, particles, 1, warm=25))
    return cases


@check(when=lambda subject: subject.traits.unbiased, over=_cases)
def small_batches(subject: Subject, case: Case) -> str | None:
    """Unbiased from the first estimate on, with one or two draws and with a past."""
    start = Estimation(case.problem, subject.fresh(), case.particles)
    for _ in range(case.warm):
        start.once()

    def run() -> Tensor:
        estimation = start.copy()
        return torch.stack([estimation.once() for _ in range(case.steps)])

    labels = start.labels
    truth = start.truth
    if case.steps > 1:
        labels = [f"{label} (estimate {i + 1})" for i in range(case.steps) for label in labels]
    return require_exact(
        subject,
        lambda: run().flatten(),
        truth.repeat(case.steps),
        labels,
        case.problem,
    )


def require_exact(
    subject: Subject,
    run: Callable[[], Tensor],
    truth: Tensor,
    labels: Sequence[str],
    problem: Problem,
    sample: Callable[[int], Tensor] | None = None,
    sizes: Sequence[int] = _LOOPS,
) -> str | None:
    """Run all paths; where that cannot tell, sample.

    Args:
        subject: Whose comparisons are counted.
        run: Returns one estimate, always from the same state.
        truth: The exact mean of what it returns.
        labels: What its entries are.
        problem: What is estimated.
        sample: Returns many estimates; by default ``run`` is called again and again.
        sizes: How many estimates each look takes.

    Raises:
        CheckFailed: The mean is not the truth.
    """
    mean = exact_mean(run)
    off: Tensor | None = None
    if mean is not None:
        off = (mean - truth).abs() / (1 + truth.abs().max())
        off = off.nan_to_num(torch.inf, torch.inf)
        if float(off.max()) <= _ROUNDING:
            return None
        if not any(_has_bell(law) for law in laws_of(problem)):
            i = int(off.argmax())
            raise CheckFailed(
                f"the estimate of {labels[i]!r} on {problem.name!r} has the mean "
                f"{float(mean[i]):.6g} over all paths of its draws; exactly "
                f"{float(truth[i]):.6g}"
            )

    def again(size: int) -> Tensor:
        return torch.stack([run() for _ in range(size)])

    require_mean(
        sample or again,
        truth,
        sizes,
        labels,
        f"the estimate on {problem.name!r}",
        subject.ledger,
    )
    if off is None:
        return "sampled"
    # No polynomial of the draws, or a small error: sampling has not seen any.
    return f"sampled: four nodes are {float(off.max()):.1g} off"


def _has_bell(law: object) -> bool:
    while not isinstance(law, Bell) and hasattr(law, "base_dist"):
        law = law.base_dist
    return isinstance(law, Bell)
