"""Antithetic pathwise draws: every draw with its mirror image."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.features import reflection
from pgplugins.errors import EstimatorError


class Antithetic(Estimator):
    """Pathwise, with the draw reflected at its centre as a second row.

    For symmetric location-scale families. Whatever part of the gradient is odd about
    the centre cancels: for a quadratic cost the gradient for the centre is exact
    (Hammersley and Morton 1956).

    Example:
        >>> import torch
        >>> d = torch.distributions.Normal(torch.tensor(2.0), 1.0)
        >>> Antithetic().draw(d).value.mean()
        tensor(2.)
    """

    name: ClassVar[str] = "antithetic"
    traits: ClassVar[Traits] = Traits(
        unbiased=True,
        needs=frozenset({"rsample", "reflection", "differentiable_cost"}),
        independent_rows=False,
        order="any",
        cost_evaluations=2,
    )

    def draw(self, dist: Distribution) -> Draw:
        """Return two attached rows of equal weight.

        Raises:
            EstimatorError: The family has no centre of symmetry.
        """
        centre = reflection.of(dist)
        if centre is None:
            raise EstimatorError(f"Estimator 'antithetic': {reflection.lack(dist)}.")
        row = dist.rsample()
        return Draw(dist=dist, value=torch.stack([row, 2 * centre - row]))

    def gradient_term(self, draw: Draw, cost: Tensor) -> None:
        """Nothing is missing: the paths carry the gradient."""
        return None
