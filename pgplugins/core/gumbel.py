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
    others = logsigmoid(log_softmax(logits) + lead)
    return torch.where(choice > 0.5, torch.zeros_like(choice), others)


def softmax(latent: Tensor) -> Tensor:
    """Softmax over the last dimension, fast for two choices as well.

    Example:
        >>> softmax(torch.tensor([0.0, 2.0])).round(decimals=3)
        tensor([0.1190, 0.8810])
    """
    if latent.shape[-1] != 2:
        return latent.softmax(-1)
    # Over so short a dimension torch's takes several times as long.
    return _differences(latent).sigmoid()


def log_softmax(latent: Tensor) -> Tensor:
    """Logarithm of :func:`softmax`."""
    if latent.shape[-1] != 2:
        return latent.log_softmax(-1)
    return logsigmoid(_differences(latent))


def _differences(latent: Tensor) -> Tensor:
    first, second = latent.unbind(-1)
    return torch.stack([first - second, second - first], -1)


def chosen(latent: Tensor) -> Tensor:
    """Return the one-hot position of the largest, shape of ``latent``."""
    index = latent.detach().argmax(-1, keepdim=True)
    return torch.zeros_like(latent.detach()).scatter_(-1, index, 1.0)


def exponential(like: Tensor) -> Tensor:
    """Standard exponential noise in the shape of a tensor, never zero."""
    noise: Tensor = torch.empty_like(like, requires_grad=False).exponential_()
    return noise.clamp_min(torch.finfo(like.dtype).tiny)
