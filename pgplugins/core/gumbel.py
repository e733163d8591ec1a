"""Gumbel noise: choices with a path, and the noise that a given choice implies."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def perturbed(logits: Tensor) -> Tensor:
    """Return ``logits`` plus Gumbel noise; the largest is a draw from their softmax."""
    return logits - exponential(logits).log()


def perturbed_given(logits: Tensor, choice: Tensor) -> Tensor:
    """Draw :func:`perturbed` logits given which is the largest, less that largest.

    The largest is independent of where it is; the others are truncated by it (Tucker et
    al. 2017, "REBAR", appendix B; Grathwohl et al. 2018, appendix B). Left out is what
    all have in common, as a softmax does not see it: the largest is zero.

    Args:
        logits: Shape ``(*batch_shape, K)``.
        choice: One-hot, the same shape.
    """
    noise = exponential(logits)
    top = (noise * choice).sum(-1, keepdim=True)
    # In units of their own rates the others arrive after the first.
    lead = top.log() - noise.log()
    others = logsigmoid(logits.log_softmax(-1) + lead)
    return torch.where(choice > 0.5, torch.zeros_like(choice), others)


def chosen(latent: Tensor) -> Tensor:
    """Return the one-hot position of the largest, shape of ``latent``."""
    index = latent.detach().argmax(-1, keepdim=True)
    return torch.zeros_like(latent.detach()).scatter_(-1, index, 1.0)


def exponential(like: Tensor) -> Tensor:
    """Standard exponential noise in the shape of a tensor, never zero."""
    noise: Tensor = torch.empty_like(like, requires_grad=False).exponential_()
    return noise.clamp_min(torch.finfo(like.dtype).tiny)
