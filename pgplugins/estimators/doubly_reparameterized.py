"""The doubly reparameterized estimator: sticking the landing, and DReG."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.own_parameters import (
    OwnParameters,
    draw_on_own,
    hides_parameters,
)


class DoublyReparameterized(Estimator):
    """The path alone, with the parameters of log q held in the cost.

    On an ELBO the direct gradient of log q has mean zero and is left out ("sticking the
    landing", Roeder et al. 2017): where ``q`` is the posterior, the gradient of every
    single sample is zero. On an importance-weighted bound the direct gradient has
    another mean; it goes along the path instead, weighted by ``w~^2`` (DReG, Tucker et
    al. 2019), so that the signal does not drown as particles are added.

    Where there is no log q in the cost it is the pathwise estimator.

    Example:
        Where the guide is the posterior, no draw has a gradient; ``reparameterized``
        leaves the noise of the score in:

        >>> import torch, pyro, pyro.distributions as dist, pgplugins as pg
        >>> loc = torch.tensor(3.0, requires_grad=True)
        >>> def model():
        ...     pyro.sample("z", dist.Normal(3.0, 1.0))
        >>> def guide():
        ...     pyro.sample("z", dist.Normal(loc, 1.0))
        >>> def gradient(estimator):
        ...     pyro.set_rng_seed(0)
        ...     loss = pg.ELBO(estimators=estimator).differentiable_loss(model, guide)
        ...     return round(torch.autograd.grad(loss, loc)[0].item(), 2)
        >>> gradient("doubly_reparameterized"), gradient("reparameterized")
        (0.0, 1.54)
    """

    name: ClassVar[str] = "doubly_reparameterized"
    traits: ClassVar[Traits] = Traits(
        unbiased=True,
        needs=frozenset({"rsample", "log_prob", "differentiable_cost"}),
        own_score="path",
    )

    def refusal(self, dist: Distribution) -> str | None:
        """Refuse distributions whose parameters cannot be told from their path."""
        return hides_parameters(dist)

    def draw(self, dist: Distribution) -> Draw:
        """Draw one row from a copy of ``dist`` that has its own parameters."""
        return draw_on_own(dist)

    def gradient_term(self, draw: Draw, cost: Tensor) -> None:
        """Nothing is missing; have the path count for what it stands for."""
        own: OwnParameters | None = draw.extra
        if own is None or draw.credit is None:
            return
        factor = draw.credit.path_factor.unsqueeze(-1)
        own.correct(lambda gradient, weight: gradient * factor)
