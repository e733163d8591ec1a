"""Higher derivatives, where ``traits.order`` is ``"any"``."""

from __future__ import annotations

from pgplugins.core.problem import Problem
from pgplugins.testing.checks.composition import BELL, COIN, two_sites
from pgplugins.testing.checks.exact import exactly
from pgplugins.testing.checks.gradients import PROGRAM_SIZES
from pgplugins.testing.estimation import laws_of
from pgplugins.testing.evidence import require_mean
from pgplugins.testing.problems.scripted import joined_costs, scripted
from pgplugins.testing.registry import check
from pgplugins.testing.subject import Subject


def _cases(subject: Subject) -> list[Problem]:
    problems = scripted()
    if not subject.traits.many_rows:
        # With more draws than one, two Normals have too many paths to run.
        problems += joined_costs()[: 2 if subject.fewest == 1 else 1]
    problems += [two_sites(COIN, COIN, False), two_sites(BELL, BELL, False)]
    problems += [two_sites(COIN, BELL, False), two_sites(COIN, COIN, True)]
    return [p for p in problems if all(subject.serves(law) for law in laws_of(p))]


@check(
    when=lambda subject: subject.traits.unbiased and subject.traits.order == "any",
    over=_cases,
)
def hessian(subject: Subject, case: Problem) -> str | None:
    """Second derivatives of the estimate have the exact mean."""
    start = subject.estimation(case, subject.fewest)
    names = case.coordinates
    truth = case.hessian().flatten()
    labels = [f"{a}, {b}" for a in names for b in names]
    what = f"the second derivative on {case.name!r}"
    remark = exactly(lambda: start.copy().hessian(), truth, labels, what)
    if remark is not None and case.name not in _JOINED:
        require_mean(start.hessians, truth, PROGRAM_SIZES, labels, what, subject.ledger)
    return remark


_JOINED = {problem.name for problem in joined_costs()}
