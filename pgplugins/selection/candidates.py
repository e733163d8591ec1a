"""The candidates that ``auto`` has: those that a user names, or the built-in ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pgplugins.core.estimator import Estimator
from pgplugins.errors import InputError, InputTypeError
from pgplugins.plugins.registry import estimator as make_estimator
from pgplugins.selection.facts import BUDGET
from pgplugins.selection.suited import DEFAULT

_OPTIONS: Final[dict[str, dict[str, Any]]] = {"enumerate": {"max_rows": BUDGET}}


def built_in() -> list[Estimator]:
    """Return the built-in candidates, in the order in which ties are broken."""
    return [make_estimator(name, **_OPTIONS.get(name, {})) for name in DEFAULT]


def named(candidates: object) -> list[Estimator]:
    """Return the candidates that a user has named.

    Args:
        candidates: A sequence of names, classes or instances.

    Raises:
        InputError: There is none, one is there twice, or one cannot be a candidate.
        InputTypeError: It is no sequence.
        UnknownEstimatorError: No estimator is registered under a name.
    """
    if isinstance(candidates, (str, Estimator)) or not isinstance(candidates, Sequence):
        raise InputTypeError(
            f"auto(candidates={candidates!r}): write a sequence of names or instances, "
            'such as ("hybrid", "score_function").'
        )
    found = [make_estimator(candidate) for candidate in candidates]
    names = [candidate.name for candidate in found]
    if not found:
        raise InputError("auto(candidates=()): write one or more, or leave it out.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"auto(candidates=...) has {', '.join(twice)} more than once; write each "
            "name once."
        )
    for candidate in found:
        if not candidate.traits.unbiased:
            raise InputError(
                f"auto(candidates=...) has {candidate.name!r}, which is biased, and "
                "auto never chooses a biased estimator. Leave it out, or write "
                f"estimator={candidate.name!r} to use it nevertheless."
            )
        if candidate.traits.cost_evaluations == "choice":
            raise InputError(
                f"auto(candidates=...) has {candidate.name!r}, which chooses among "
                "others itself. Write the candidates that it chooses among."
            )
    return found
