"""A sample in coordinates that are fit for polynomials: centred, scaled, tamed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

_WIDE = 8.0  # standard deviations; a Normal is beyond them once in 10^15 draws


def coordinates(dist: Distribution, sample: Tensor) -> Tensor:
    """Return a sample in units of its law, differentiable in the sample alone.

    Centred and scaled by the law's mean and standard deviation, where it has them. Past
    eight of them a coordinate grows like a logarithm, so that polynomials have moments
    under laws with heavy tails as well.

    Args:
        dist: The law; its parameters are held.
        sample: Shape ``(*batch_shape, *event_shape)``.

    Returns:
        Shape ``(*batch_shape, M)``, events flattened.

    Example:
        >>> d = torch.distributions.Normal(torch.tensor([5.0]), 2.0)
        >>> coordinates(d, torch.tensor([9.0])).tolist()
        [[2.0]]
    """
    mean, deviation = _moments(dist)
    if mean is not None:
        sample = sample - torch.where(mean.isfinite(), mean, 0.0)
    if deviation is not None:
        usable = deviation.isfinite() & (deviation > 0)
        sample = sample / torch.where(usable, deviation, 1.0)
    flat = sample.reshape(*dist.batch_shape, -1)
    near = flat.clamp(-_WIDE, _WIDE)
    beyond = flat - near
    return near + beyond.sign() * beyond.abs().log1p()


def _moments(dist: Distribution) -> tuple[Tensor | None, Tensor | None]:
    found: list[Tensor | None] = []
    for name in ("mean", "stddev"):
        try:
            found.append(getattr(dist, name).detach())
        except (NotImplementedError, AttributeError):
            found.append(None)
    return found[0], found[1]
