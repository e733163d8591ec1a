"""Every problem that there is, built in and installed."""

from __future__ import annotations

from pgplugins.core.problem import Problem
from pgplugins.plugins import problems as installed
from pgplugins.testing.problems.classics import classics
from pgplugins.testing.problems.families import continuous, discrete
from pgplugins.testing.problems.programs import programs
from pgplugins.testing.problems.shapes import batched, joined


def built_in() -> list[Problem]:
    """Return the problems of this library.

    Example:
        >>> [p.name for p in built_in()][:2]
        ['gaussian_quadratic', 'bernoulli_quadratic']
    """
    return [
        *classics(),
        *discrete(),
        *continuous(),
        *batched(),
        *joined(),
        *programs(),
    ]


def available() -> list[Problem]:
    """Return the problems of this library and of every plugin.

    Example:
        >>> from pgplugins.testing.problems import built_in
        >>> {p.name for p in built_in()} <= {p.name for p in available()}
        True
    """
    return [*built_in(), *installed()]
