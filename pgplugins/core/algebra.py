"""The surrogate algebra: tensors whose value and gradient are chosen apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def score_term(cost: Tensor, log_prob: Tensor) -> Tensor:
    """Zero in value, with ``cost`` times the gradient of ``log_prob``, to every order.

    The same as ``cost * (exp(l - stop(l)) - 1)`` (the MagicBox of Foerster et al. 2018,
    "DiCE", eq. 9, less one), but a first derivative does not walk through the graph of
    ``cost``, where it could only collect zeros: the cost meets the score in a backward
    hook, which higher derivatives differentiate in turn.

    Example:
        >>> l = torch.tensor(-2.0, requires_grad=True)
        >>> zero = score_term(torch.tensor(5.0), l)
        >>> zero.item(), torch.autograd.grad(zero, l)[0].item()
        (0.0, 5.0)
    """
    zero = log_prob - log_prob.detach()
    if zero.shape != cost.shape:
        zero = zero.expand(torch.broadcast_shapes(zero.shape, cost.shape))
    if not zero.requires_grad:
        return zero

    def meet_cost(gradient: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            # Not ``zero`` itself, whose own gradient would come through this hook.
            return gradient * cost * (log_prob - log_prob.detach()).exp()
        return gradient * cost

    zero.register_hook(meet_cost)
    return zero


def without_direct_gradient(log_prob: Tensor) -> Tensor:
    """``log_prob`` in value, without its gradient, which has mean zero.

    Higher derivatives are right: the same as ``l - (exp(l - stop(l)) - 1)``, where all
    derivatives of the part taken off have mean zero.

    Example:
        >>> l = torch.tensor(-2.0, requires_grad=True)
        >>> held = without_direct_gradient(l)
        >>> held.item(), torch.autograd.grad(held, l)[0].item()
        (-2.0, 0.0)
    """
    held = log_prob.view_as(log_prob)
    if not held.requires_grad:
        return held

    def drop(gradient: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return gradient * (1 - (log_prob - log_prob.detach()).exp())
        return torch.zeros_like(gradient)

    held.register_hook(drop)
    return held


def zero_valued(tensor: Tensor) -> Tensor:
    """Zero in value; its gradient is that of ``tensor``.

    Example:
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> zero = zero_valued(x**2)
        >>> zero.item(), torch.autograd.grad(zero, x)[0].item()
        (0.0, 6.0)
    """
    return tensor - tensor.detach()


def leave_one_out_mean(cost: Tensor, dim: int) -> Tensor:
    """Mean of the *other* entries along ``dim``, same shape as ``cost``.

    A baseline for independent draws (Kool, van Hoof and Welling 2019, eq. 8): it has
    not seen the draw that it is subtracted from. Needs at least two entries.

    Example:
        >>> leave_one_out_mean(torch.tensor([1.0, 2.0, 6.0]), dim=0)
        tensor([4.0000, 3.5000, 1.5000])
    """
    n = cost.shape[dim]
    return (cost.sum(dim, keepdim=True) - cost) / (n - 1)


def spread(cost: Tensor, shape: Sequence[int]) -> Tensor:
    """Broadcast a cost that several batch elements share, so that it still counts once.

    Every element sees the whole value (its score must meet the whole cost), but the
    gradient is divided among the elements, so the gradient of the sum of the result is
    that of the cost itself and not a multiple of it.

    Example:
        >>> c = torch.tensor([5.0], requires_grad=True)
        >>> s = spread(c, (4,))
        >>> s.tolist(), torch.autograd.grad(s.sum(), c)[0].item()
        ([5.0, 5.0, 5.0, 5.0], 1.0)
    """
    if cost.shape == tuple(shape):
        return cost
    target = torch.broadcast_shapes(cost.shape, tuple(shape))
    if not cost.requires_grad:
        return cost.expand(target)
    copies = torch.Size(target).numel() // max(cost.numel(), 1)
    held = cost.detach()
    return (held + (cost - held) / copies).expand(target)
