"""Parameters of a distribution that Pyro expands by drawing again and again."""

from __future__ import annotations

import copy

import torch
from pyro.distributions import ExpandedDistribution
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.parameters import parameters_of, with_parameters


def expand(dist: Distribution, batch_shape: torch.Size) -> Distribution:
    """Return ``dist`` with a larger batch shape, whether or not it knows how.

    Example:
        >>> from torch.distributions import Normal
        >>> expand(Normal(0.0, 1.0), torch.Size([3])).batch_shape
        torch.Size([3])
    """
    if isinstance(dist, ExpandedDistribution):
        dist = copy.copy(dist)  # its own expand would change it
    try:
        expanded: Distribution = dist.expand(batch_shape)
    except NotImplementedError:
        expanded = ExpandedDistribution(dist, batch_shape)
    return expanded


@parameters_of.register(ExpandedDistribution)
def _(dist: ExpandedDistribution) -> dict[str, Tensor]:
    base = dist.base_dist
    return {
        name: _expand(value, len(base.batch_shape), dist.batch_shape)
        for name, value in parameters_of(base).items()
    }


@with_parameters.register(ExpandedDistribution)
def _(dist: ExpandedDistribution, values: dict[str, Tensor]) -> Distribution:
    # The parameters have the whole batch shape now, and so has what they make.
    base = copy.copy(dist.base_dist)
    base._batch_shape = torch.Size(dist.batch_shape)
    return with_parameters(base, values)


def _expand(value: Tensor, batch: int, batch_shape: torch.Size) -> Tensor:
    return value.expand(tuple(batch_shape) + value.shape[batch:])
