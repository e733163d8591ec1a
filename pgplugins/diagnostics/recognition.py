"""Recognising what was given to be compared or explained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pgplugins.core.numbers import positive_integer
from pgplugins.diagnostics.objective import (
    Expectation,
    Objective,
    Program,
    Variational,
)
from pgplugins.errors import InputError, InputTypeError
from pgplugins.infer.elbo import ELBO


def as_objective(
    objective: Any,
    *,
    num_samples: int | None = None,
    num_particles: int | None = None,
    elbo: ELBO | None = None,
) -> Objective:
    """Recognise the kind of an objective.

    Raises:
        InputTypeError: It is none of the three kinds.
        InputError: A setting belongs to another kind.
    """
    counts = {"num_samples": num_samples, "num_particles": num_particles}
    for option, count in counts.items():
        if count is not None:
            positive_integer(count, option)
    given = {"elbo": elbo, **counts}
    match objective:
        case (cost, dist) if callable(cost):
            _accept(given, "num_samples", "an expectation (cost, dist)")
            return Expectation(cost, dist, num_samples or 1)
        case (model, guide, args) if callable(model) and callable(guide):
            kind = "a (model, guide, args) triple"
            _accept(given, "elbo" if elbo is not None else "num_particles", kind)
            if not isinstance(args, tuple):
                raise InputTypeError(
                    "args in (model, guide, args) is a "
                    f"{type(args).__name__}; write a tuple, () if there are none."
                )
            particles = num_particles or 1
            template = elbo or ELBO(
                num_particles=particles, vectorize_particles=particles > 1
            )
            return Variational(model, guide, args, template)
        case program if callable(program):
            _accept(given, "num_particles", "a program")
            return Program(program, num_particles or 1)
    raise InputTypeError(
        f"an objective is an expectation (cost, dist), a triple "
        f"(model, guide, args) or a program with costs; found {objective!r}."
    )


def named_parameters(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Check the tensors that the user named.

    Raises:
        InputTypeError: ``params`` is not a mapping of names to tensors.
        InputError: It is empty, or a tensor does not require a gradient.
    """
    if not isinstance(params, Mapping) or not all(
        isinstance(p, Tensor) for p in params.values()
    ):
        raise InputTypeError(
            'params maps names to tensors, such as params={"mu": mu}; '
            f"found {params!r}."
        )
    if not params:
        raise InputError("params is empty; name at least one tensor.")
    for name, p in params.items():
        if not p.requires_grad:
            raise InputError(
                f"params[{name!r}] does not require a gradient; "
                "call .requires_grad_() on it before the objective uses it."
            )
    return dict(params)


def _accept(given: Mapping[str, object], option: str, kind: str) -> None:
    for other, value in given.items():
        if other != option and value is not None:
            raise InputError(f"{other} does not go with {kind}; write {option} there.")
