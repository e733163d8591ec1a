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
from pgplugins.testing.registry import biased, check
from pgplugins.testing.script import exact_mean
from pgplugins.testing.subject import Subject

_LOOPS = (300, 600, 900)
_REPLICATES = (4_000, 32_000)
_ROUNDING = 1e-6
_FINER = 6  # nodes; what both rules agree on is no matter of the rule
_MORE_PATHS = 1500


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
# Where there is no script these are estimated one by one, the others as replicates.
_LOOPED = {"coin", "bell", "joined_coins", "joined_bells"}


def _cases(subject: Subject) -> list[Case]:
    cases = []
    problems = scripted()
    if subject.traits.cost_evaluations in (1, "choice"):
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


@check(
    unless=biased,
    over=_cases,
    none="it serves no coin, die or Normal, whose draws a script tells",
)
def small_batches(subject: Subject, case: Case) -> str:
    """Unbiased from the first estimate on, with one or two draws and with a past."""
    start = Estimation(case.problem, subject.fresh(), case.particles)
    for _ in range(case.warm):
        start.once()

    def run(steps: int) -> Tensor:
        estimation = start.copy()
        return torch.cat([estimation.once() for _ in range(steps)])

    labels = [
        f"{label} (estimate {i + 1})" if case.steps > 1 else label
        for i in range(case.steps)
        for label in start.labels
    ]
    truth = start.truth.repeat(case.steps)
    what = f"the estimate on {case.problem.name!r} with {case.particles} draw(s)"
    remark = exactly(lambda: run(case.steps), truth, labels, what)
    if remark is None:
        return "exact"
    joined = case.problem.name.startswith("joined")
    if case.particles > subject.fewest + (0 if joined else 1):
        return "left to the smaller batches, which show more"
    steps = min(case.steps, 2)
    looped = case.problem.name in _LOOPED
    if not looped:
        steps = 1
    size = steps * len(start.labels)

    def sample(count: int) -> Tensor:
        if looped:
            return torch.stack([run(steps) for _ in range(count)])
        return start.copy().replicates(count)

    require_mean(
        sample,
        truth[:size],
        _LOOPS if looped else _REPLICATES,
        labels[:size],
        what,
        subject.ledger,
    )
    return remark


def exactly(
    run: Callable[[], Tensor], truth: Tensor, labels: Sequence[str], what: str
) -> str | None:
    """Compare the mean over all paths with the truth.

    An estimator that draws random numbers of its own, as the first weights of a
    network, may be exact whatever they are; if it is not, only sampling can tell.

    Where the two rules for Normals agree with one another and not with the truth, the
    estimate is a polynomial of the draws with a wrong mean. Where they do not agree it
    is no polynomial, and only sampling can tell.

    Args:
        run: Returns one estimate, always from the same state.
        truth: The exact mean of what it returns.
        labels: What its entries are.
        what: For the message.

    Returns:
        ``None`` if the mean is the truth, else a remark why sampling has to tell.

    Raises:
        CheckFailed: The mean is not the truth.
    """
    mean = exact_mean(run)
    if mean is None:
        return "sampled"
    off = _distance(mean.value, truth)
    if float(off.max()) <= _ROUNDING:
        return None
    if not mean.told:
        return "sampled"
    finer = exact_mean(run, _MORE_PATHS, _FINER)
    if finer is None or float(_distance(mean.value, finer.value).max()) > _ROUNDING:
        return "sampled: it is no polynomial of the draws"
    i = int(off.argmax())
    raise CheckFailed(
        f"{what} for {labels[i]!r} has the mean {float(mean.value[i]):.6g} over all "
        f"paths of its draws; exactly {float(truth[i]):.6g}"
    )


def _distance(mean: Tensor, truth: Tensor) -> Tensor:
    off = (mean - truth).abs() / (1 + truth.abs().max())
    return off.nan_to_num(torch.inf, torch.inf)
