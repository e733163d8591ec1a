"""From a class and options to an instance."""

from __future__ import annotations

import inspect
from typing import Any

from pgplugins.core.estimator import Estimator
from pgplugins.errors import InputError
from pgplugins.plugins.suggestion import did_you_mean


def construct(cls: type[Estimator], options: dict[str, Any]) -> Estimator:
    """Build an estimator, naming an option that it does not have or that it misses.

    Raises:
        InputError: An option is unknown, or one without a default is missing.
    """
    parameters = _parameters(cls)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = [
        p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    valid = [p.name for p in named]
    for option in options:
        if option not in valid and not open_ended:
            raise InputError(
                f"Estimator {cls.name!r} has no option {option!r}."
                f"{did_you_mean(option, valid)} {_listing(valid)}"
            )
    for p in named:
        if p.default is p.empty and p.name not in options:
            raise InputError(
                f"Estimator {cls.name!r} needs the option {p.name!r}; "
                f"write pgplugins.estimator({cls.name!r}, {p.name}=...)."
            )
    return cls(**options)


def _parameters(cls: type[Estimator]) -> list[inspect.Parameter]:
    # torch's own constructor takes **kwargs only in order to refuse them.
    if cls.__init__ is Estimator.__init__:
        return []
    return list(inspect.signature(cls).parameters.values())


def _listing(valid: list[str]) -> str:
    return f"Its options are: {', '.join(valid)}." if valid else "It has no options."
