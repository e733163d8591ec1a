"""Single and double precision, whatever torch's default is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pgplugins.testing.checks.gradients import AT_FIRST, sizes_for
from pgplugins.testing.estimation import Estimation
from pgplugins.testing.evidence import CheckFailed, require_mean
from pgplugins.testing.registry import biased, check
from pgplugins.testing.subject import Sitting, Subject

_PRECISIONS = [
    (parameters, default)
    for parameters in (torch.float32, torch.float64)
    for default in (torch.float32, torch.float64)
]


@check()
def dtypes_are_kept(subject: Subject) -> None:
    """Rows, weights and terms have the dtype of the parameters."""
    for problem in subject.expectations:
        for parameters, default in _PRECISIONS:
            with _default(default):
                sitting = Sitting(problem, subject.fresh(), dtype=parameters)
                draw = sitting.draw
                term = sitting.estimator.gradient_term(draw, sitting.cost)
                sitting.estimator.update(draw, sitting.cost)
            for what, tensor in (
                ("values", draw.value),
                ("weights", draw.weight),
                ("the term", term),
            ):
                if (
                    tensor is not None
                    and tensor.is_floating_point()
                    and tensor.dtype != parameters
                ):
                    raise CheckFailed(
                        f"{what} have dtype {tensor.dtype} on {problem.name!r}, where "
                        f"the parameters are {parameters} and torch's default is "
                        f"{default}"
                    )


@check(unless=biased)
def single_precision(subject: Subject) -> None:
    """Unbiased in single precision as well, with either default."""
    for problem in subject.canonical():
        for parameters, default in _PRECISIONS:
            with _default(default):
                estimation = Estimation(
                    problem, subject.fresh(), subject.fewest, dtype=parameters
                )
                require_mean(
                    estimation.replicates,
                    estimation.replicated_truth,
                    sizes_for(subject, problem, AT_FIRST),
                    estimation.replicated_labels,
                    f"the estimate on {problem.name!r} in {parameters}",
                    subject.ledger,
                )


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
