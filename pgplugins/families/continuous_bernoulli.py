"""The path of a ContinuousBernoulli near one half, which torch leaves out."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import ContinuousBernoulli

from pgplugins.core.path import rsample


@rsample.register(ContinuousBernoulli)
def _(dist: ContinuousBernoulli) -> Tensor:
    value = dist.rsample()
    logits = dist.logits
    if not logits.requires_grad:
        return value
    # With F(x) = (exp(l x) - 1) / (exp(l) - 1), dx/dl at a fixed F is
    # x (1 - x) / 2 + O(l), and |l| is at most 0.004 where torch draws a uniform.
    held = value.detach()
    missing = (logits - logits.detach()) * held * (1 - held) / 2
    return torch.where(dist._outside_unstable_region(), value, value + missing)
