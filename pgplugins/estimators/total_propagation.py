"""Total propagation: score and path mixed at every step by their variances."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.meeting import Met, meet
from pgplugins.core.own_parameters import (
    OwnParameters,
    draw_on_own,
    hides_parameters,
)
from pgplugins.core.pooling import LOCAL, Pool, mean_and_variance
from pgplugins.errors import EstimatorError


class TotalPropagation(Estimator):
    """``k S + (1 - k) P``: score and path, mixed by their variances. Biased.

    For rollouts through chaotic dynamics, where the path gradient of early steps
    explodes (Parmas, Rasmussen, Peters and Doya 2018, "PIPPS", algorithm 1).
    ``backward`` brings the path gradient ``P`` of what follows to the step's own
    parameters; there it meets the score gradient ``S`` (less the leave-one-out mean of
    the other particles), and the mix is what earlier steps see. So a path that has
    exploded behind a step is not passed on through it.

    The weight ``k = Var P / (Var P + Var S)`` is taken from the particles at hand, for
    every parameter of every batch element (the paper takes one for the whole policy);
    with ``distributed``, from the particles of all ranks.
    Weights that left the own particle out would trust the one path that has exploded. A
    path that is not finite, or exactly zero in all particles, gets no weight.

    **Biased**: the weights have seen the draws that they weigh, by an amount that
    shrinks as particles are added; and where the cost jumps the path, and so the mix,
    lacks the jump. For smooth costs over few steps ``hybrid`` is unbiased and has less
    variance: weights by inverse variance ignore that ``S`` and ``P`` are correlated.

    ``backward`` runs once, as for ``hybrid``.

    Example:
        ``E[x^2]`` at N(1, 1), whose gradient is 2; many particles bias it little.

        >>> import torch, pgplugins as pg
        >>> mu = torch.tensor(1.0, requires_grad=True)
        >>> d = torch.distributions.Normal(mu, 1.0)
        >>> _ = torch.manual_seed(0)
        >>> loss = pg.expectation(
        ...     torch.square, d, estimator="total_propagation", num_samples=10_000
        ... )
        >>> loss.backward()
        >>> round(mu.grad.item(), 1)
        2.0
    """

    name: ClassVar[str] = "total_propagation"
    traits: ClassVar[Traits] = Traits(
        unbiased=False,
        needs=frozenset({"rsample", "log_prob", "differentiable_cost"}),
        own_score="drop",
    )

    def refusal(self, dist: Distribution) -> str | None:
        """Refuse distributions whose parameters cannot be expanded over rows."""
        return hides_parameters(dist)

    def draw(self, dist: Distribution) -> Draw:
        """Draw one row from a copy of ``dist`` that has its own parameters per row."""
        return draw_on_own(dist)

    def gradient_term(self, draw: Draw, cost: Tensor) -> Tensor | None:
        """Return a zero that makes ``backward`` mix the gradients, ``batch_shape``.

        Raises:
            EstimatorError: There are fewer than two independent draws.
        """
        others = draw.others_cost(cost)
        if others is None:
            raise EstimatorError(
                'Estimator "total_propagation" weighs score and path by their '
                "variances over particles, and needs at least 2 of them side by side; "
                "found 1. Write num_particles=2 or more (many more, if you can) with "
                "vectorize_particles=True, num_samples=2 or more, or "
                'estimator="reparameterized".'
            )
        own: OwnParameters | None = draw.extra
        if own is None or not own.probe.requires_grad:
            return None
        score = own.score(draw)
        assert draw.particle_dim is not None
        particles = draw.particle_dim - 1  # parameters come last

        def mix(met: Met) -> Tensor:
            scored = score * met.cost.unsqueeze(-1)
            return mixed(scored, met.path, particles, draw.pool)

        return meet(own, cost.detach() - others, mix)


def mixed(score: Tensor, path: Tensor, particles: int, pool: Pool = LOCAL) -> Tensor:
    """Weigh two estimates of one gradient by the inverse of their variances.

    Args:
        score: One estimate per particle.
        path: The other, of the same shape.
        particles: The dimension of the particles.
        pool: The ranks that the particles are divided over.

    Returns:
        The mix, of the same shape: the same weights for all particles.

    Example:
        >>> score, path = torch.tensor([1.0, 5.0]), torch.tensor([2.0, 4.0])
        >>> mixed(score, path, -1)  # variances 8 and 2, so weights 0.2 and 0.8
        tensor([1.8000, 4.2000])
    """
    # Side by side, for an exchange between ranks costs the same for both.
    both = torch.stack([score, path])
    dim = particles % score.dim() + 1
    of_score, of_path = mean_and_variance(both, dim, pool)[1]
    total = of_score + of_path
    # Neither varies: the path of a linear cost is exact.
    weight = torch.where(total > 0, of_path / total, 0.0)
    moving = (path != 0).sum(particles, keepdim=True)
    moving, _ = pool.total(moving, 0, "how many paths are not zero")
    there = of_path.isfinite() & (moving > 0)
    return torch.where(there, weight * score + (1 - weight) * path, score)
