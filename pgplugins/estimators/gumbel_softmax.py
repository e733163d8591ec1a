"""Gumbel-softmax: a softened choice in place of the choice."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.gumbel import perturbed, softmax
from pgplugins.core.numbers import positive
from pgplugins.core.relaxed import relaxed_site


class GumbelSoftmax(Estimator):
    """``f(softmax((logits + g) / temperature))``: a softened choice. Biased.

    The program is shown a mixture of the points, so both the value and the gradient of
    the estimate are those of another program (Jang, Gu and Poole 2017; Maddison, Mnih
    and Teh 2017). Bias falls and variance rises as the temperature falls.

    Args:
        temperature: Above zero.

    Raises:
        InputError: The temperature is not a positive number.

    Example:
        The gradient of ``E[b^2] = p`` for the logit is ``p (1 - p)``, 0.21 at 0.3:

        >>> import torch, pgplugins as pg
        >>> logit = torch.tensor(0.3).logit().requires_grad_()
        >>> coin = torch.distributions.Bernoulli(logits=logit)
        >>> _ = torch.manual_seed(0)
        >>> square = lambda b: b**2
        >>> loss = pg.expectation(
        ...     square, coin, estimator="gumbel_softmax", num_samples=100_000
        ... )
        >>> loss.backward()
        >>> round(logit.grad.item(), 2)
        0.16
    """

    name: ClassVar[str] = "gumbel_softmax"
    traits: ClassVar[Traits] = Traits(
        unbiased=False,
        needs=frozenset({"relaxation", "differentiable_cost"}),
        pathwise=True,
    )

    def __init__(self, temperature: float = 0.5) -> None:
        """Set the temperature."""
        super().__init__()
        positive(temperature, "temperature")
        self.temperature = temperature

    def draw(self, dist: Distribution) -> Draw:
        """Draw one softened row, attached to the logits."""
        site = relaxed_site(dist)
        weights = softmax(perturbed(site.relaxed.logits) / self.temperature)
        return Draw.of_row(dist, site.value(weights), off_support=True)

    def gradient_term(self, draw: Draw, cost: Tensor) -> None:
        """Nothing is added: the path is all there is."""
        return None
