"""The pathwise estimator, also known as the reparameterization trick."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.path import rsample


class Reparameterized(Estimator):
    """``f(x(theta, eps))``: the gradient runs through the sample.

    For costs that are continuous in the sample and differentiable almost everywhere
    (Kingma and Welling 2014; Rezende et al. 2014); a jump of height h at c biases it by
    exactly ``-h q(c)``.

    Example:
        >>> Reparameterized().traits.pathwise
        True
    """

    name: ClassVar[str] = "reparameterized"
    traits: ClassVar[Traits] = Traits(
        unbiased=True,
        needs=frozenset({"rsample", "differentiable_cost"}),
        own_score="keep",
        order="any",
        pathwise=True,
    )

    def draw(self, dist: Distribution) -> Draw:
        """Draw one row, attached to its parameters."""
        return Draw.of_row(dist, rsample(dist))

    def gradient_term(self, draw: Draw, cost: Tensor) -> None:
        """Nothing is missing: the path carries the gradient."""
        return None
