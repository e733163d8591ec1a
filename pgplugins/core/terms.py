"""What the fold works on: random choices, parts of the cost, and their plates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.provenance import Sources


class Plate(NamedTuple):
    """A declared independence: ``size`` elements along batch dimension ``dim`` < 0."""

    name: str
    dim: int
    size: int


@dataclass(slots=True)
class CostTerm:
    """A part of the total cost: its value, its plates, and the sites it depends on.

    Args:
        name: The site or statement that it comes from.
        value: Scaled and masked.
        plates: The plates that enclose it.
        upstream: The sites that it depends on.
        scale: What the value has been multiplied by.
    """

    name: str
    value: Tensor
    plates: frozenset[Plate]
    upstream: Sources
    scale: float | Tensor = 1.0


@dataclass(slots=True)
class Site:
    """A random choice as the fold sees it.

    Args:
        name: The site's name.
        estimator: The estimator that drew the value and corrects the gradient.
        draw: What it drew.
        plates: The plates that enclose the site.
        bit: The set that holds this site alone; a later site has a higher bit.
        upstream: The sites that its parameters depend on.
        row_dim: The dimension of its rows, or ``None`` if it has one row.
        own_weight: What its own log q counts for where the estimator's path carries its
            direct gradient.
        in_python: Its value may have turned into a Python value, which can follow one
            row only.
    """

    name: str
    estimator: Estimator
    draw: Draw
    plates: frozenset[Plate]
    bit: Sources
    upstream: Sources
    row_dim: int | None = None
    own_weight: float | Tensor = 0.0
    in_python: bool = False

    @property
    def traits(self) -> Traits:
        """Those of the estimator that drew."""
        delegation = self.draw.delegation
        return (self.estimator if delegation is None else delegation.to).traits
