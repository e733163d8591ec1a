"""Whether the support of a distribution moves with what is differentiated for.

The gradient of an integral is that of the density plus what its moving bounds let in
(Leibniz' rule). A score sees the density only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
    constraints,
)

from pgplugins.core.graph import leaves_below
from pgplugins.core.parts import parts_of

# Their densities fall faster than any transform can stretch them: no mass waits at a
# bound that such a draw is squashed into.
_LIGHT_TAILS = (Normal, MultivariateNormal, LowRankMultivariateNormal)


def support_moves(dist: Distribution) -> bool:
    """Whether a bound of the support is a parameter that is differentiated for.

    Example:
        >>> from torch.distributions import Uniform
        >>> high = torch.tensor(2.0, requires_grad=True)
        >>> support_moves(Uniform(0.0, high)), support_moves(Uniform(0.0, 2.0))
        (True, False)
    """
    return any(
        bound.requires_grad and bool(bound.isfinite().any())
        for part in parts_of(dist)
        for bound in _tensors(_support(part))
    ) or any(_image_moves(part) for part in _shaped_by_transforms(dist))


def support_may_move(dist: Distribution) -> bool:
    """Whether the answer of :func:`support_moves` may be another for other parameters.

    Example:
        >>> from torch.distributions import Normal, Uniform
        >>> support_may_move(Uniform(0.0, torch.ones(3)))
        True
        >>> support_may_move(Normal(0.0, 1.0))
        False
    """
    bounds = (b for part in parts_of(dist) for b in _tensors(_support(part)))
    transformed = _shaped_by_transforms(dist)
    return any(True for _ in bounds) or any(True for _ in transformed)


def _shaped_by_transforms(dist: Distribution) -> Iterator[TransformedDistribution]:
    """Yield the parts whose support is what their transforms make of another."""
    for part in parts_of(dist):
        if (
            isinstance(part, TransformedDistribution)
            # A family that declares its support knows its transforms better.
            and type(part).support is TransformedDistribution.support
            and not isinstance(_innermost(part.base_dist), _LIGHT_TAILS)
        ):
            yield part


def _support(dist: Distribution) -> object:
    try:
        support: Any = dist.support
        return None if support is None or support.is_discrete else support
    except NotImplementedError:
        return None


def _tensors(support: object) -> Iterator[Tensor]:
    """Yield the bounds in a constraint and in those that it is made of."""
    if isinstance(support, Tensor):
        if support.is_floating_point():
            yield support
    elif isinstance(support, (list, tuple)):
        for part in support:
            yield from _tensors(part)
    elif isinstance(support, constraints.Constraint):
        for part in vars(support).values():
            yield from _tensors(part)


def _image_moves(dist: TransformedDistribution) -> bool:
    """Whether the transforms move the bounds of what they are applied to."""
    for bound in _bounds(dist.base_dist):
        image = bound
        for transform in dist.transforms:
            image = transform(image)
        if image.requires_grad and _varies(image):
            return True
    return False


def _innermost(dist: Distribution) -> Distribution:
    while isinstance(base := getattr(dist, "base_dist", None), Distribution):
        dist = base
    return dist


def _bounds(dist: Distribution) -> list[Tensor]:
    """Return the least and the largest value of a support, infinities included."""
    support: Any = _support(dist)
    while (base := getattr(support, "base_constraint", None)) is not None:
        support = base
    low = getattr(support, "lower_bound", -torch.inf)
    high = getattr(support, "upper_bound", torch.inf)
    shape = dist.batch_shape + dist.event_shape
    return [torch.as_tensor(bound).expand(shape) for bound in (low, high)]


def _varies(image: Tensor) -> bool:
    """Whether the finite part of ``image`` has a gradient other than zero."""
    finite = image.isfinite()
    if not finite.any():
        return False
    # Weights of no pattern, so that bounds that move apart do not cancel.
    weights = torch.arange(1.0, image.numel() + 1).sqrt().to(image).reshape(image.shape)
    slopes = torch.autograd.grad(
        (image * weights)[finite].sum(),
        leaves_below(image),
        retain_graph=True,  # it is the parameters' graph, and still to be used
        allow_unused=True,
    )
    return any(s is not None and bool(s.nan_to_num(0.0).any()) for s in slopes)
