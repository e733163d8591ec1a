"""Couplings: two draws of one law that depend on one another."""

from __future__ import annotations

import torch
from torch.distributions import Bernoulli

from pgplugins.core.features import Coupled, coupling


@coupling.register(Bernoulli)
def _(dist: Bernoulli) -> Coupled:
    """Antithetic uniforms (Dong, Mnih and Tucker 2020, "DisARM", eq. 7)."""
    logits = dist.logits
    uniform = torch.rand_like(logits)
    probs = dist.probs.detach()
    value = torch.stack([uniform < probs, 1 - uniform < probs]).to(probs)
    first, second = value
    sign = first - second  # (-1)^b' where they differ, 0 where they agree
    return Coupled(value, (sign * logits.detach().abs().sigmoid()) * logits)
