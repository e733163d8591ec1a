"""Relaxations: laws that choose one of K points.

Maddison, Mnih and Teh (2017), "The Concrete distribution"; Jang, Gu and Poole (2017).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, OneHotCategorical
from torch.nn.functional import logsigmoid

from pgplugins.core.features import Relaxation, relaxation


@relaxation.register(Bernoulli)
def _bernoulli(dist: Bernoulli) -> Relaxation:
    logits = dist.logits

    def log_prob(value: Tensor) -> Tensor:
        return value * logits + logsigmoid(-logits)

    both = torch.stack([torch.zeros_like(logits), logits], -1)
    return Relaxation(both, torch.arange(2).to(logits), log_prob)


@relaxation.register(OneHotCategorical)
def _one_hot(dist: OneHotCategorical) -> Relaxation:
    logits = finite(dist.logits)

    def log_prob(value: Tensor) -> Tensor:
        return (value * logits).sum(-1)

    return Relaxation(logits, torch.eye(logits.shape[-1]).to(logits), log_prob)


@relaxation.register(Categorical)
def _categorical(dist: Categorical) -> Relaxation:
    """The points are the indices, so a mixture is a mean index."""
    logits = finite(dist.logits)
    last = logits.shape[-1] - 1

    def log_prob(value: Tensor) -> Tensor:
        # Linear between neighbouring categories.
        below = value.detach().floor().clamp(0, max(last - 1, 0))
        shape = torch.broadcast_shapes(logits.shape[:-1], value.shape)
        spread = logits.expand(*shape, -1)
        index = below.long().expand(shape).unsqueeze(-1)
        low = spread.gather(-1, index).squeeze(-1)
        high = spread.gather(-1, (index + 1).clamp_max(last)).squeeze(-1)
        return low + (value - below) * (high - low)

    points = torch.arange(last + 1, device=logits.device)
    return Relaxation(logits, points, log_prob)


def finite(logits: Tensor) -> Tensor:
    """Impossible points have a density that products with zero survive."""
    return logits.clamp_min(torch.finfo(logits.dtype).min / 4)
