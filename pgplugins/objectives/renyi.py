"""The Renyi bound over particles, of which the importance-weighted bound is one."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class RenyiBound(NamedTuple):
    """A bound on minus the log-evidence, and what each particle is told of it.

    Args:
        loss: ``-log(mean_k w_k^(1-alpha)) / (1 - alpha)``, the costs' shape less the
            particles.
        others: The loss with each particle's own weight replaced by the geometric mean
            of the others', the costs' shape; ``None`` if there are no others.
        path_factor: What the path through a particle counts for where it carries the
            direct gradient of log q as well, the costs' shape.
    """

    loss: Tensor
    others: Tensor | None
    path_factor: Tensor


def renyi_bound(costs: Tensor, alpha: float) -> RenyiBound:
    """Join the particles' costs ``-log w_k`` (Li and Turner 2016, eq. 14).

    ``alpha`` 0 is the importance-weighted bound (Burda et al. 2016, eq. 8). Its losses
    without the own weight are the baselines of VIMCO (Mnih and Rezende 2016, eq. 10).
    The path factor is ``alpha + (1 - alpha) w~_k`` with the weights normalised, which
    times the path's own weight ``w~_k`` gives the doubly reparameterized gradient
    (Tucker et al. 2019, eq. 8 for ``alpha`` 0).

    Args:
        costs: Minus the log-weights; the particles come first.
        alpha: The order, not 1.

    Example:
        >>> bound = renyi_bound(torch.tensor([0.0, 0.0]) - math.log(3), alpha=0.0)
        >>> round(bound.loss.exp().item(), 4), bound.path_factor.tolist()
        (0.3333, [0.5, 0.5])
    """
    power = 1 - alpha
    count = costs.shape[0]
    scaled = -power * costs

    def joined(scaled: Tensor, dim: int) -> Tensor:
        return (math.log(count) - scaled.logsumexp(dim)) / power

    held = scaled.detach()
    path_factor = alpha + power * held.softmax(0)
    others = None
    if count > 1:
        mean_of_others = (held.sum(0) - held) / (count - 1)
        # Taking the own weight out of the sum of all would cancel where it dominates;
        # a matrix of all pairs of particles would not fit where there are many.
        none = torch.full_like(held[:1], -torch.inf)
        before = torch.cat([none, held.logcumsumexp(0)[:-1]])
        after = torch.cat([held.flip(0).logcumsumexp(0).flip(0)[1:], none])
        others = joined(torch.stack([before, mean_of_others, after]), 0)
    return RenyiBound(joined(scaled, 0), others, path_factor)
