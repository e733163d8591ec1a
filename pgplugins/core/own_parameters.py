"""A distribution on parameters of its own: what per-row gradients are taken for."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.parameters import parameters_of, with_parameters
from pgplugins.core.scores import closed_form_score


class OwnParameters(NamedTuple):
    """Every batch element's own parameters, side by side, and their names.

    Args:
        flat: Shape ``(*batch_shape, P)``: one tensor through which every use of a
            parameter by the site passes.
        names: The parameters that are differentiated for, in the order of ``flat``.
    """

    flat: Tensor
    names: tuple[str, ...]

    def score(self, draw: Draw) -> Tensor:
        """Return the score of the drawn value, shape of ``flat``."""
        batch = len(draw.dist.batch_shape)
        if draw.held_dist is not None:
            closed = closed_form_score(draw.held_dist, draw.row.detach())
            if closed is not None:
                return torch.cat([_flatten(closed[n], batch) for n in self.names], -1)
        total = draw.log_prob.sum()
        if not total.requires_grad:
            return torch.zeros_like(self.flat)
        (score,) = torch.autograd.grad(total, self.flat, retain_graph=True)
        return score


class OwnLaw(NamedTuple):
    """A distribution in three guises.

    Args:
        law: Rebuilt on ``own``.
        held: Rebuilt on detached parameters.
        own: ``None`` if no parameter is differentiated for.
    """

    law: Distribution
    held: Distribution
    own: OwnParameters | None


def own_law(dist: Distribution) -> OwnLaw:
    """Rebuild ``dist`` on a copy of its parameters for every batch element.

    Raises:
        EstimatorError: The distribution does not show its parameters, or cannot be
            rebuilt from them.

    Example:
        >>> loc = torch.tensor(0.5, requires_grad=True)
        >>> found = own_law(torch.distributions.Normal(loc.expand(3), 1.0))
        >>> found.own.names, tuple(found.own.flat.shape)
        (('loc',), (3, 1))
    """
    values = parameters_of(dist)
    batch = len(dist.batch_shape)
    varied = {k: v for k, v in values.items() if v.requires_grad}
    held = with_parameters(dist, {k: v.detach() for k, v in values.items()})
    if not varied:
        return OwnLaw(held, held, None)
    flat = torch.cat([_flatten(v, batch) for v in varied.values()], -1)
    sizes = [v.shape[batch:].numel() for v in varied.values()]
    own = {
        name: part.reshape(value.shape)
        for (name, value), part in zip(
            varied.items(), flat.split(sizes, -1), strict=True
        )
    }
    law = with_parameters(dist, {**values, **own})
    return OwnLaw(law, held, OwnParameters(flat, tuple(varied)))


def _flatten(value: Tensor, batch: int) -> Tensor:
    return value.reshape(*value.shape[:batch], -1)
