"""What an estimator serves, and how it refuses the rest."""

from __future__ import annotations

import torch
from torch.distributions import Distribution

from pgplugins.core.fit import misfit
from pgplugins.core.parts import describe
from pgplugins.errors import PgpluginsError
from pgplugins.functional import expectation
from pgplugins.testing.estimation import laws_of
from pgplugins.testing.evidence import CheckFailed
from pgplugins.testing.problems import Expectation, Problem, available
from pgplugins.testing.registry import check
from pgplugins.testing.subject import Opaque, Subject


@check()
def refusals_are_errors(subject: Subject) -> None:
    """What it does not serve raises a PgpluginsError, with a reason in words."""
    for problem in available():
        objective = problem.objective
        if not isinstance(objective, Expectation):
            continue
        law = objective.law(problem.leaves())
        state = torch.get_rng_state()
        reason = misfit(subject.fresh(), law)
        if not torch.equal(state, torch.get_rng_state()):
            raise CheckFailed(f"refusal draws random numbers for {describe(law)}")
        if reason is None:
            continue
        if not isinstance(reason, str) or not reason.strip():
            raise CheckFailed(
                f"refusal returned {reason!r} for {describe(law)}; it must return a "
                "reason in words, or None"
            )
        _require_refused(subject, problem, objective, law, reason)


def _require_refused(
    subject: Subject,
    problem: Problem,
    objective: Expectation,
    law: Distribution,
    reason: str,
) -> None:
    leaves = problem.leaves()
    try:
        expectation(
            lambda x: objective.cost(x, leaves),
            objective.law(leaves),
            estimator=subject.fresh(),
            num_samples=2,
        )
    except PgpluginsError:
        return
    raise CheckFailed(f"{describe(law)} was refused ({reason}) and yet drawn from")


@check(
    when=lambda subject: (
        not subject.traits.needs & {"log_prob", "enumerate_support"}
        and subject.serves(Opaque(torch.zeros(()), torch.ones(())))
    )
)
def needs_name_the_density(subject: Subject) -> None:
    """Without ``"log_prob"`` among its needs it works where there is no density."""
    loc = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    law = Opaque(loc, torch.ones((), dtype=torch.float64), validate_args=False)
    try:
        expectation(
            lambda x: x**2,
            law,
            estimator=subject.fresh(),
            num_samples=max(2, subject.fewest),
        ).backward()
    except NotImplementedError as error:
        raise CheckFailed(
            'it asks for a density, but traits.needs does not name "log_prob"'
        ) from error


@check()
def laws_are_served_alike(subject: Subject) -> None:
    """The answer of ``refusal`` is the same every time it is asked."""
    estimator = subject.fresh()
    for problem in available():
        for law in laws_of(problem):
            if misfit(estimator, law) != misfit(estimator, law):
                raise CheckFailed(f"refusal changes its mind about {describe(law)}")
