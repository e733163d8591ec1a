"""DisARM: two antithetic Bernoulli draws, with the noise of their ranks summed out."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.algebra import zero_valued
from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.features import coupling
from pgplugins.errors import EstimatorError


class Disarm(Estimator):
    """``1/2 (f(b) - f(b')) (-1)^b' 1[b != b'] sigmoid(|logit|)`` for Bernoulli sites.

    The two draws share a uniform variable, one of them reflected; what is left after
    the uniform is integrated out has less variance than leave-one-out on two
    independent draws (Dong, Mnih and Tucker 2020, eq. 7; Yin, Ho, Yan, Qian and Zhou
    2020, "U2G").

    Example:
        At ``p = 1/2`` the two draws always differ, and one pair gives the gradient of
        ``E[3 b]``, ``3 p (1 - p)``, exactly:

        >>> import torch, pgplugins as pg
        >>> logit = torch.tensor(0.0, requires_grad=True)
        >>> coin = torch.distributions.Bernoulli(logits=logit)
        >>> pg.expectation(lambda b: 3 * b, coin, estimator="disarm").backward()
        >>> logit.grad
        tensor(0.7500)
    """

    name: ClassVar[str] = "disarm"
    traits: ClassVar[Traits] = Traits(
        unbiased=True,
        needs=frozenset({"coupling"}),
        independent_rows=False,
        cost_evaluations=2,
    )

    def draw(self, dist: Distribution) -> Draw:
        """Return two coupled rows of equal weight.

        Raises:
            EstimatorError: The family has no coupling.
        """
        coupled = coupling.of(dist)
        if coupled is None:
            raise EstimatorError(f"Estimator 'disarm': {coupling.lack(dist)}.")
        direction = coupled.direction
        events = tuple(range(len(dist.batch_shape), direction.dim()))
        joint = direction.sum(events) if events else direction
        return Draw(dist=dist, value=coupled.value, extra=joint)

    def gradient_term(self, draw: Draw, cost: Tensor) -> Tensor:
        """Return half the difference along the direction, shape ``batch_shape``."""
        difference = (cost[0] - cost[1]).detach() / 2
        direction: Tensor = draw.extra
        return difference * zero_valued(direction)
