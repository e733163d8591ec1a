"""Which candidates a site can have, as its distribution and its program tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch.distributions import Distribution

from pgplugins.core.estimator import Estimator
from pgplugins.core.fit import misfit
from pgplugins.core.parameters import parameters_of
from pgplugins.core.parts import describe
from pgplugins.core.points import support_size
from pgplugins.errors import EstimatorError

CONTINUOUS: Final = ("hybrid", "lax")
"""Candidates where a draw has a path and a density."""

COUPLED: Final = ("enumerate", "disarm", "measure_valued", "score_function")
"""Candidates where two draws can be coupled."""

DISCRETE: Final = (
    "enumerate",
    "sum_and_sample",
    "unordered_set",
    "finite_difference",
    "measure_valued",
    "score_function",
)
"""Candidates elsewhere."""

LAST: Final = ("reparameterized",)
"""What is left where there is a path and no density."""

DEFAULT: Final = tuple(dict.fromkeys((*COUPLED, *DISCRETE, *CONTINUOUS, *LAST)))
"""All of them, by name."""

NOT_MEANT: Final = "other candidates are meant for it"


def misfits(
    candidates: Sequence[Estimator],
    dist: Distribution,
    *,
    asked_for: bool,
    no_density: bool = False,
) -> list[str | None]:
    """Say of each candidate why it does not come into question; ``None`` if it does.

    :data:`NOT_MEANT` stands for what goes without saying.

    Args:
        candidates: Those asked for, or the default ones.
        dist: What is to be drawn from.
        asked_for: The user has named them, so that each is tried that fits.
        no_density: The distribution could not tell its density when it was asked.
    """
    reasons = [
        f"{describe(dist)} does not tell its density"
        if no_density and "log_prob" in candidate.traits.needs
        else misfit(candidate, dist)
        for candidate in candidates
    ]
    if asked_for:
        return reasons
    fitting = {c.name for c, r in zip(candidates, reasons, strict=True) if r is None}
    meant = _meant(fitting)
    # Of those that do not fit, only enumeration is worth a word: it might be hoped for.
    return [
        reason
        if candidate.name in meant and (reason is None or candidate.name == "enumerate")
        else NOT_MEANT
        for candidate, reason in zip(candidates, reasons, strict=True)
    ]


def _meant(fitting: set[str]) -> tuple[str, ...]:
    if "lax" in fitting:
        return CONTINUOUS
    if "disarm" in fitting:
        return COUPLED
    return DISCRETE if fitting & set(DISCRETE) else LAST


def rows_of(candidate: Estimator, dist: Distribution) -> int:
    """Return how many rows a draw takes, at most."""
    declared = candidate.traits.cost_evaluations
    if isinstance(declared, int):
        return declared
    if declared == "support":
        return support_size(dist)
    if declared == "size":
        return int(getattr(candidate, "size", 2))
    try:
        values = parameters_of(dist).values()
    except EstimatorError:
        return 1
    scalars = sum(v.numel() for v in values if v.requires_grad)
    return 1 + 2 * scalars // max(dist.batch_shape.numel(), 1)


def weighs_elements(candidate: Estimator) -> bool:
    """Whether its rows are weighted element by element.

    A cost that joins several elements would then need their combinations.
    """
    return isinstance(candidate.traits.cost_evaluations, str)


def relies_on_path(candidate: Estimator) -> bool:
    """Whether it is biased where the cost jumps."""
    return {"rsample", "differentiable_cost"} <= candidate.traits.needs


def unguarded(candidate: Estimator) -> bool:
    """Whether it relies on a path without looking at it itself."""
    return relies_on_path(candidate) and not hasattr(candidate, "fallback")
