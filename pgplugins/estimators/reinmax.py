"""ReinMax: straight-through to second order."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.gumbel import chosen, perturbed, softmax
from pgplugins.core.numbers import positive
from pgplugins.core.relaxed import relaxed_site


class Reinmax(Estimator):
    """A hard choice with a second-order gradient. Biased.

    Straight-through is a first-order approximation of the gradient; Heun's method makes
    a second-order one of it, exact for quadratic costs at temperature 1 (Liu, Dong,
    Liu, Yu and Gao 2023, algorithm 2).

    Args:
        temperature: Above zero; 1 is the second-order method.

    Raises:
        InputError: The temperature is not a positive number.

    Example:
        For a quadratic cost the second order is all: the gradient of ``E[b^2] = p`` for
        the logit is ``p (1 - p)``, 0.21 at 0.3.

        >>> import torch, pgplugins as pg
        >>> logit = torch.tensor(0.3).logit().requires_grad_()
        >>> coin = torch.distributions.Bernoulli(logits=logit)
        >>> _ = torch.manual_seed(0)
        >>> square = lambda b: b**2
        >>> loss = pg.expectation(
        ...     square, coin, estimator="reinmax", num_samples=100_000
        ... )
        >>> loss.backward()
        >>> round(logit.grad.item(), 2)
        0.21
    """

    name: ClassVar[str] = "reinmax"
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
        logits = site.relaxed.logits
        choice = chosen(perturbed(logits))
        half = (choice + softmax(logits / self.temperature)) / 2
        corrected = (half.log() - logits).detach() + logits
        path = 2 * softmax(corrected) - softmax(logits) / 2
        weights = choice + (path - path.detach())
        return Draw.of_row(dist, site.value(weights), off_support=True)

    def gradient_term(self, draw: Draw, cost: Tensor) -> None:
        """Nothing is added: the path is all there is."""
        return None
