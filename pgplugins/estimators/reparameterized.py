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
        ``E[x^2]`` at N(1, 1) has the gradient 2 for the mean. With a jump of 3 at 1/2
        it is 3.06, and the path still says 2:

        >>> import torch, pgplugins as pg
        >>> mu = torch.tensor(1.0, requires_grad=True)
        >>> def gradient(cost):
        ...     torch.manual_seed(0)
        ...     d = torch.distributions.Normal(mu, 1.0)
        ...     loss = pg.expectation(
        ...         cost, d, estimator="reparameterized", num_samples=100_000
        ...     )
        ...     return round(torch.autograd.grad(loss, mu)[0].item(), 1)
        >>> gradient(torch.square), gradient(lambda x: x**2 + 3 * (x > 0.5))
        (2.0, 2.0)
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
