"""Straight-through: the choice forwards, the softened choice backwards."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.gumbel import chosen, perturbed, softmax
from pgplugins.core.numbers import positive
from pgplugins.core.relaxed import relaxed_site


class StraightThrough(Estimator):
    """A hard choice with the gradient of a softened one. Biased.

    The value of the estimate is right, its gradient is not (Bengio, Leonard and
    Courville 2013; with Gumbel noise as in Jang, Gu and Poole 2017, section 2.2).

    Args:
        temperature: Of the softened choice, above zero.

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
        ...     square, coin, estimator="straight_through", num_samples=100_000
        ... )
        >>> loss.backward()
        >>> round(logit.grad.item(), 2)
        0.11
    """

    name: ClassVar[str] = "straight_through"
    traits: ClassVar[Traits] = Traits(
        unbiased=False,
        needs=frozenset({"relaxation", "differentiable_cost"}),
        pathwise=True,
    )

    def __init__(self, temperature: float = 1.0) -> None:
        """Set the temperature."""
        super().__init__()
        positive(temperature, "temperature")
        self.temperature = temperature

    def draw(self, dist: Distribution) -> Draw:
        """Draw one hard row, with a path to the logits."""
        site = relaxed_site(dist)
        latent = perturbed(site.relaxed.logits)
        soft = softmax(latent / self.temperature)
        weights = chosen(latent) + (soft - soft.detach())
        return Draw.of_row(dist, site.value(weights), off_support=True)

    def gradient_term(self, draw: Draw, cost: Tensor) -> None:
        """Nothing is added: the path is all there is."""
        return None
