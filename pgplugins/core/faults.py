"""Families whose path or whose density is not what its name says, by type.

What is known of a family is registered by its type, as with torch's ``register_kl``;
:mod:`pgplugins.families` does so. A function gets the distribution and says in words
what is wrong with it, or ``None``: most faults lie in one parameter only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.distributions import Distribution

from pgplugins.core.parts import parts_of
from pgplugins.core.path import mended

Fault = Callable[[Any], str | None]

_PATH: dict[type, list[Fault]] = {}
_DENSITY: dict[type, list[Fault]] = {}
_OF_PARAMETERS: set[type] = set()


def register_path_fault(
    kind: type, *, of_parameters: bool = False
) -> Callable[[Fault], Fault]:
    """Register what is wrong with the gradient through ``kind.rsample()``.

    Args:
        kind: Asked for it and for all that is derived from it.
        of_parameters: The fault depends on the parameters, so that it has to be looked
            for at every draw.
    """
    return _register(_PATH, kind, of_parameters)


def register_density_fault(
    kind: type, *, of_parameters: bool = False
) -> Callable[[Fault], Fault]:
    """Register what is wrong with ``kind.log_prob`` at what ``kind.sample`` drew.

    Args:
        kind: As for :func:`register_path_fault`.
        of_parameters: As for :func:`register_path_fault`.
    """
    return _register(_DENSITY, kind, of_parameters)


def _register(
    faults: dict[type, list[Fault]], kind: type, of_parameters: bool
) -> Callable[[Fault], Fault]:
    def add(fault: Fault) -> Fault:
        faults.setdefault(kind, []).append(fault)
        if of_parameters:
            _OF_PARAMETERS.add(kind)
        return fault

    return add


def path_fault(dist: Distribution) -> str | None:
    """Say why the gradient along draws of ``dist`` would be wrong, or ``None``.

    Example:
        >>> path_fault(Distribution())
    """
    return _fault(_PATH, dist, sound=mended(dist))


def density_fault(dist: Distribution) -> str | None:
    """Say why the score of draws from ``dist`` would be wrong, or ``None``.

    Example:
        >>> density_fault(Distribution())
    """
    return _fault(_DENSITY, dist)


def _fault(
    faults: dict[type, list[Fault]],
    dist: Distribution,
    sound: Distribution | None = None,
) -> str | None:
    for part in parts_of(dist):
        if part is sound:
            continue
        for kind in type(part).__mro__:
            for look in faults.get(kind, ()):
                if (fault := look(part)) is not None:
                    return fault
    return None


def faults_vary(dist: Distribution) -> bool:
    """Whether the answers above may change with the parameters.

    Example:
        >>> faults_vary(Distribution())
        False
    """
    return any(
        not _OF_PARAMETERS.isdisjoint(type(part).__mro__) for part in parts_of(dist)
    )
