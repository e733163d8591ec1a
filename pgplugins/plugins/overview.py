"""One row per estimator, for the command line, the documentation and the README."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pgplugins.plugins.catalogue import ALIASES
from pgplugins.plugins.registry import available, estimator_class, owner_of


@dataclass(frozen=True)
class EstimatorRow:
    """What there is to know about an estimator before using it.

    Args:
        name: The registered name.
        aliases: Other names that it answers to.
        owner: The distribution that it comes from.
        unbiased: Whether its expectation is the gradient.
        needs: What the distribution and the cost must offer, sorted.
        cost_evaluations: How many evaluations of the cost one draw takes.
        order: The highest derivative that is right.
        summary: The first line of the class's docstring.
    """

    name: str
    aliases: tuple[str, ...]
    owner: str
    unbiased: bool
    needs: tuple[str, ...]
    cost_evaluations: int | Literal["support", "parameters", "size", "choice"]
    order: int | Literal["any"]
    summary: str


def overview() -> list[EstimatorRow]:
    """Return a row for every estimator, built in and installed, sorted by name.

    Example:
        >>> [row.aliases for row in overview() if row.name == "reparameterized"]
        [('pathwise', 'reparam')]
    """
    return [_row(name) for name in available()]


def _row(name: str) -> EstimatorRow:
    cls = estimator_class(name)
    doc = (cls.__doc__ or "").strip()
    return EstimatorRow(
        name=name,
        aliases=tuple(sorted(a for a, target in ALIASES.items() if target == name)),
        owner=owner_of(name),
        unbiased=cls.traits.unbiased,
        needs=tuple(sorted(cls.traits.needs)),
        cost_evaluations=cls.traits.cost_evaluations,
        order=cls.traits.order,
        summary=doc.splitlines()[0] if doc else "",
    )
