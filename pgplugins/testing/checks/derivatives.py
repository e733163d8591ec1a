"""Higher derivatives, where ``traits.order`` is ``"any"``."""

from __future__ import annotations

from pgplugins.core.problem import Problem
from pgplugins.testing.checks.composition import BELL, COIN, _two_sites
from pgplugins.testing.checks.exact import require_exact
from pgplugins.testing.checks.gradients import PROGRAM_SIZES
from pgplugins.testing.estimation import laws_of
from pgplugins.testing.problems.scripted import joined_costs, scripted
from pgplugins.testing.registry import check
from pgplugins.testing.subject import Subject


def _cases(subject: Subject) -> list[Problem]:
    problems = scripted()
    if not subject.traits.many_rows:
        problems += joined_costs()
    problems += [_two_sites(COIN, COIN, False), _two_sites(BELL, BELL, False)]
    problems += [_two_sites(COIN, BELL, False), _two_sites(COIN, COIN, True)]
    return [p for p in problems if all(subject.serves(law) for law in laws_of(p))]


@check(
    when=lambda subject: subject.traits.unbiased and subject.traits.order == "any",
    over=_cases,
)
def hessian(subject: Subject, case: Problem) -> str | None:
    """Second derivatives of the estimate have the exact mean."""
    start = subject.estimation(case, subject.fewest)
    names = case.coordinates
    return require_exact(
        subject,
        lambda: start.copy().hessian(),
        case.hessian().flatten(),
        [f"{a}, {b}" for a in names for b in names],
        case,
        start.hessians if case.name not in _JOINED else None,
        PROGRAM_SIZES if case.name not in _JOINED else (500, 3000),
    )


_JOINED = {problem.name for problem in joined_costs()}
