"""Finite supports, with the product space of what ``to_event`` has joined."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from pgplugins.errors import EstimatorError

MAX_POINTS: Final = 16384
"""As many as are listed unless more are asked for."""


def points_of(dist: Distribution, max_points: int = MAX_POINTS) -> Tensor:
    """Return all points, shape ``(points, *ones for batch_shape, *event_shape)``.

    Raises:
        EstimatorError: There are more than ``max_points`` points, or no finite support.

    Example:
        >>> from torch.distributions import Bernoulli
        >>> points_of(Independent(Bernoulli(torch.zeros(2)), 1), 100).tolist()
        [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    reason = too_large(dist, max_points)
    if reason is not None:
        raise EstimatorError(f'{reason}. Write estimator="score_function" instead.')
    base, copies = _product(dist)
    points = _support(base)
    one = points.reshape(points.shape[0], *base.event_shape)
    grid = torch.cartesian_prod(*[torch.arange(one.shape[0])] * copies)
    rows = one[grid.reshape(-1, copies).to(one.device)]
    return rows.reshape(-1, *(1,) * len(dist.batch_shape), *dist.event_shape)


def support_size(dist: Distribution) -> int:
    """Return how many points there are.

    Raises:
        NotImplementedError: The distribution has no finite support.

    Example:
        >>> from torch.distributions import Bernoulli
        >>> support_size(Independent(Bernoulli(torch.zeros(10)), 1))
        1024
    """
    base, copies = _product(dist)
    size: int = _support(base).shape[0] ** copies
    return size


def too_large(
    dist: Distribution, max_points: int = MAX_POINTS, option: str | None = None
) -> str | None:
    """Say why the support cannot be enumerated; ``None`` if it can.

    Args:
        dist: What is to be enumerated.
        max_points: As many may there be.
        option: What an estimator calls that, if it can be set.
    """
    base, copies = _product(dist)
    try:
        points = _support(base).shape[0]
    except NotImplementedError as error:
        return f"{type(base).__name__} cannot be enumerated ({error})"
    if points**copies > max_points:
        limit = max_points if option is None else f"{option}={max_points}"
        # Python refuses to write out integers of very many digits.
        digits = copies * math.log10(points)
        number = f"= {points**copies}" if digits < 20 else f"(about 10^{digits:.0f})"
        return f"its support has {points}^{copies} {number} points, more than {limit}"
    return None


def _support(base: Distribution) -> Tensor:
    """Return the points of one element's distribution, in a shape of their own."""
    # Binomial reads its total_count as a number. Where that differs from row to row it
    # refuses, so no value of a site above decides what is listed.
    with torch._C.DisableTorchFunctionSubclass():
        points: Tensor = base.enumerate_support(expand=False)
    return points


def _product(dist: Distribution) -> tuple[Distribution, int]:
    """Return the distribution of one element, and how many elements an event has."""
    copies = 1
    while isinstance(dist, Independent):
        copies *= dist.event_shape[: dist.reinterpreted_batch_ndims].numel()
        dist = dist.base_dist
    return dist, copies
