"""Where the path meets the score: both gradients of one draw, on the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from pgplugins.core.own_parameters import OwnParameters


class Met(NamedTuple):
    """What ``backward`` brings to a site's own parameters, element by element.

    Args:
        path: The path gradients as they count in the loss, shape ``(*batch_shape, P)``.
        weight: What each element counts for in the loss, shape ``batch_shape``.
        cost: The costs, times that weight, shape ``batch_shape``: times the score they
            are the score gradients as they count in the loss.
    """

    path: Tensor
    weight: Tensor
    cost: Tensor


def meet(
    own: OwnParameters, cost: Tensor, correction: Callable[[Met], Tensor]
) -> Tensor:
    """Have ``backward`` pass on what ``correction`` makes of both gradients.

    Args:
        own: The parameters that the draw was made with.
        cost: Shape ``(1, *batch_shape)``, with dimensions for other sites' rows between
            them, if there are any; held.
        correction: Returns gradients in the shape of the path's.

    Returns:
        A zero of shape ``batch_shape`` (with those further dimensions) that has to be
        part of the loss: it finds out what every element counts for.
    """
    f = cost.detach().squeeze(0)
    weights: list[Tensor] = []
    rows_of_others = tuple(range(f.dim() - own.probe.dim()))

    def correct(path: Tensor, weight: Tensor) -> Tensor:
        weight = weights.pop() if weights else weight
        weighted = weight * f
        if rows_of_others:
            weight, weighted = weight.sum(rows_of_others), weighted.sum(rows_of_others)
        return correction(Met(path.detach(), weight, weighted))

    own.correct(correct)
    if not rows_of_others:
        return own.probe
    # Rows of other sites: each has a weight of its own.
    probe = own.probe.expand(f.shape)
    probe.register_hook(weights.append)
    return probe
