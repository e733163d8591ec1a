"""Relaxed choices: points near the support, with a path to a site's logits."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.features import Relaxation, relaxation
from pgplugins.core.gumbel import chosen, perturbed, perturbed_given, softmax
from pgplugins.errors import EstimatorError


class RelaxedSite(NamedTuple):
    """A site's relaxation, with logits of its own to differentiate for.

    Weights have the shape of the logits, ``(*batch_shape, *elements, K)``, where
    ``elements`` are what ``to_event`` has joined.
    """

    relaxed: Relaxation
    own: Tensor
    """The logits as a leaf: paths end here, and terms carry on to the parameters."""
    batch: int

    def value(self, weights: Tensor) -> Tensor:
        """Mix the points: shape ``(*batch_shape, *event_shape)``."""
        value: Tensor = torch.tensordot(
            weights, self.relaxed.points.to(weights), dims=1
        )
        return value

    def point(self, choice: Tensor) -> Tensor:
        """Return the points of one-hot choices, in the family's own dtype."""
        return self.relaxed.points[choice.argmax(-1)]

    @property
    def mass(self) -> Tensor:
        """Probabilities of the choices, detached: the shape of the logits."""
        return softmax(self.own.detach())

    def score(self, choice: Tensor) -> Tensor:
        """Return the score of a one-hot choice for the logits."""
        return choice - self.mass

    def lift(self, cost: Tensor) -> Tensor:
        """Give a cost ``(*others, *batch_shape)`` dimensions for elements and K."""
        return cost.reshape(*cost.shape, *(1,) * (self.own.dim() - self.batch))

    def term(self, gradient: Tensor) -> Tensor:
        """Return a zero whose gradient for the site's logits is ``gradient``.

        Args:
            gradient: Shape of the logits, with dimensions of others on the left.

        Returns:
            Shape ``(*others, *batch_shape)``.
        """
        logits = self.relaxed.logits
        zero = gradient.detach() * (logits - logits.detach())
        return zero.flatten(self.batch - self.own.dim()).sum(-1)


def relaxed_site(dist: Distribution) -> RelaxedSite:
    """Return the relaxation of a distribution.

    Raises:
        EstimatorError: Its family has none.
    """
    relaxed = relaxation.of(dist)
    if relaxed is None:
        raise EstimatorError(f"{relaxation.lack(dist)}.")
    own = relaxed.logits.detach().requires_grad_()
    return RelaxedSite(relaxed, own, len(dist.batch_shape))


class CoupledLatents(NamedTuple):
    """A one-hot choice with two latents of its law, the second given the choice."""

    choice: Tensor
    both: Tensor
    """Shape ``(2, *logits.shape)``, each up to what its K numbers have in common."""


def couple(logits: Tensor) -> CoupledLatents:
    """Draw a choice, the latent that made it, and another latent given the choice.

    Both latents have a path to ``logits`` (Tucker et al. 2017, "REBAR", section 3.1).
    """
    free = perturbed(logits)
    choice = chosen(free)
    both = torch.stack([free, perturbed_given(logits, choice)])
    return CoupledLatents(choice, both)
