"""State: it can be copied and stored, and it does not depend on sizes of a batch."""

from __future__ import annotations

import copy

import torch

from pgplugins.core.estimator import Estimator
from pgplugins.core.problem import Problem
from pgplugins.testing.estimation import Estimation
from pgplugins.testing.evidence import CheckFailed
from pgplugins.testing.registry import check
from pgplugins.testing.subject import Subject

_LESSONS = 6  # estimates before the state is copied


def _learned(subject: Subject, problem: Problem) -> Estimator:
    """Return an estimator that has seen some draws."""
    torch.manual_seed(2)
    estimator = subject.fresh()
    estimation = Estimation(problem, estimator, max(200, subject.fewest))
    for _ in range(_LESSONS):
        estimation.once()
    return estimator


def _next(estimator: Estimator, problem: Problem, particles: int) -> torch.Tensor:
    torch.manual_seed(3)
    estimation = Estimation(problem, estimator, particles)
    return torch.stack([estimation.once() for _ in range(2)])


@check()
def copies_continue_alike(subject: Subject) -> None:
    """A deep copy gives the estimates that the original would have given."""
    for problem in subject.canonical():
        estimator = _learned(subject, problem)
        twin = copy.deepcopy(estimator)
        found = [_next(e, problem, max(2, subject.fewest)) for e in (estimator, twin)]
        if not torch.equal(*found):
            raise CheckFailed(
                f"a deep copy goes on differently on {problem.name!r}: "
                f"{found[0][0].tolist()} and {found[1][0].tolist()}"
            )


@check()
def state_dicts_carry_the_state(subject: Subject) -> None:
    """A fresh estimator that loads ``state_dict`` goes on where the other one was."""
    for problem in subject.canonical():
        estimator = _learned(subject, problem)
        stored = copy.deepcopy(estimator.state_dict())
        twin = subject.fresh()
        twin.load_state_dict(stored)
        for name, value in twin.state_dict().items():
            if not torch.equal(value, stored[name]):
                raise CheckFailed(f"load_state_dict loses {name!r}")
        found = [_next(e, problem, max(2, subject.fewest)) for e in (estimator, twin)]
        if not torch.allclose(found[0], found[1], rtol=1e-12, atol=0):
            raise CheckFailed(
                "an estimator that has loaded the state_dict goes on differently on "
                f"{problem.name!r}: {found[0][0].tolist()} and {found[1][0].tolist()}. "
                "State belongs into buffers (register_buffer)"
            )


@check()
def batch_sizes_may_change(subject: Subject) -> None:
    """What was learned on one number of draws and replicates serves any other."""
    for problem in subject.expectations:
        estimator = subject.fresh()
        for size, particles in ((1, 5), (7, 2), (3, 4)):
            estimation = Estimation(problem, estimator, particles)
            try:
                estimation.replicates(size)
            except Exception as error:
                raise CheckFailed(
                    f"on {problem.name!r} it fails once the batch size changes to "
                    f"{size} with {particles} draws: {type(error).__name__}: {error}"
                ) from error
