"""Draws and densities as estimators need them, whatever a family makes of them."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from torch import Tensor
from torch.distributions import Distribution, Independent

from pgplugins.core.parts import describe
from pgplugins.errors import EstimatorError, PgpluginsError


@singledispatch
def rsample(dist: Distribution) -> Tensor:
    """Draw ``dist.rsample()``, shape ``(*batch_shape, *event_shape)``.

    A family whose own path lacks a part of the gradient registers its own way here.

    Example:
        >>> import torch
        >>> rsample(torch.distributions.Normal(torch.zeros(3), 1.0)).shape
        torch.Size([3])
    """
    return dist.rsample()


@rsample.register(Independent)
def _(dist: Independent[Any]) -> Tensor:
    return rsample(dist.base_dist)


def mended(dist: Distribution) -> Distribution | None:
    """Return the part of ``dist`` whose path :func:`rsample` repairs, if there is one.

    Example:
        >>> from torch.distributions import Normal
        >>> mended(Normal(0.0, 1.0))
    """
    while isinstance(dist, Independent):
        dist = dist.base_dist
    own = rsample.dispatch(type(dist)) is not rsample.dispatch(object)
    return dist if own else None


def sample(dist: Distribution) -> Tensor:
    """Draw without a path, shape ``(*batch_shape, *event_shape)``.

    Some families' ``sample`` leaves one, which would be counted beside the score.

    Raises:
        EstimatorError: The distribution cannot be drawn from.

    Example:
        >>> import torch
        >>> loc = torch.tensor(0.0, requires_grad=True)
        >>> sample(torch.distributions.Normal(loc, 1.0)).requires_grad
        False
    """
    try:
        drawn: Tensor = dist.sample()
    except NotImplementedError as error:
        raise EstimatorError(
            f"{describe(dist)} cannot be drawn from{_said(error)}. Write another "
            "distribution for what is to be drawn; this one can be observed."
        ) from error
    return drawn.detach() if drawn.requires_grad else drawn


def density(dist: Distribution, value: Tensor) -> Tensor:
    """Return ``dist.log_prob(value)``, shape ``batch_shape`` or more on the left.

    Raises:
        EstimatorError: The distribution has no density, or none at values that it has
            not itself just returned (some flows), or none of several values at once.

    Example:
        >>> import torch
        >>> density(torch.distributions.Uniform(0.0, 1.0), torch.tensor(0.5))
        tensor(0.)
    """
    try:
        log_prob: Tensor = dist.log_prob(value)
    except PgpluginsError:
        raise
    except (NotImplementedError, KeyError, AssertionError, ValueError) as error:
        raise EstimatorError(
            f"{describe(dist)} has no density at values of shape "
            f"{tuple(value.shape)}{_said(error)}, and this estimator needs one. Write "
            'estimator="reparameterized" if it has rsample.'
        ) from error
    return log_prob


def _said(error: Exception) -> str:
    return f" ({error})" if str(error) else ""
