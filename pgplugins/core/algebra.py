"""The surrogate algebra: tensors whose value and gradient are chosen apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def score_term(cost: Tensor, log_prob: Tensor) -> Tensor:
    """Zero in value; its gradient is ``cost`` times that of ``log_prob``, to any order.

    The same as ``cost * (exp(l - stop(l)) - 1)`` (the MagicBox of Foerster et al. 2018,
    "DiCE", eq. 9, less one), but a first derivative does not walk through the graph of
    ``cost``, where it could only collect zeros; higher derivatives do.

    Example:
        >>> l = torch.tensor(-2.0, requires_grad=True)
        >>> zero = score_term(torch.tensor(5.0), l)
        >>> zero.item(), torch.autograd.grad(zero, l)[0].item()
        (0.0, 5.0)
    """
    if not cost.requires_grad:
        return cost * (log_prob - log_prob.detach()).expm1()
    term: Tensor = _ScoreTerm.apply(cost, log_prob)  # type: ignore[no-untyped-call]
    return term


def first_score_term(cost: Tensor, log_prob: Tensor) -> Tensor:
    """:func:`score_term` for a loss that is differentiated once: cheaper.

    Example:
        >>> l = torch.tensor(-2.0, requires_grad=True)
        >>> zero = first_score_term(torch.tensor(5.0), l)
        >>> zero.item(), torch.autograd.grad(zero, l)[0].item()
        (0.0, 5.0)
    """
    held = cost.detach() if cost.requires_grad else cost
    return held * (log_prob - log_prob.detach())


class _ScoreTerm(torch.autograd.Function):
    """``cost * (box - 1)`` where ``box = exp(l - stop(l))``."""

    # One step with a context: apart, as torch.func wants it, it takes 30 us longer.
    @staticmethod
    def forward(ctx: Any, cost: Tensor, log_prob: Tensor) -> Tensor:
        ctx.save_for_backward(cost, log_prob)
        # Not zeros: a density that is not finite has to show in the loss.
        zero = log_prob - log_prob
        if zero.shape == cost.shape:
            return zero
        return zero.expand(torch.broadcast_shapes(zero.shape, cost.shape))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        cost, log_prob = ctx.saved_tensors
        for_cost, for_log_prob = ctx.needs_input_grad
        to_cost: Tensor | None = None
        to_log_prob: Tensor | None = None
        if not torch.is_grad_enabled():
            if for_log_prob:
                to_log_prob = (gradient * cost).sum_to_size(log_prob.shape)
            return to_cost, to_log_prob
        box = (log_prob - log_prob.detach()).exp()
        if for_log_prob:
            to_log_prob = (gradient * cost * box).sum_to_size(log_prob.shape)
        if for_cost:
            to_cost = (gradient * (box - 1)).sum_to_size(cost.shape)
        return to_cost, to_log_prob


def without_direct_gradient(log_prob: Tensor) -> Tensor:
    """``log_prob`` as a cost, less a zero whose mean's derivatives are all zero.

    Its first derivative vanishes: the direct gradient of a log-density has mean zero
    under its own law. The same as ``l + exp(stop(l) - l) - 1``; where the site's score
    term meets it, as in the fold, the part added is ``1 - exp(l - stop(l))``, all of
    whose derivatives have mean zero, so higher derivatives are right as well.

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
            return gradient * (1 - (log_prob.detach() - log_prob).exp())
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


def spread(
    cost: Tensor, shape: Sequence[int], log_prob: Tensor | None = None
) -> Tensor:
    """Broadcast a cost that several batch elements share, so that it still counts once.

    Every element sees the whole value (its score must meet the whole cost), but the
    gradient is divided among the elements, so the gradient of the sum of the result is
    that of the cost itself and not a multiple of it.

    Args:
        cost: What is shared.
        shape: The elements' shape, or as much of it as ``cost`` lacks.
        log_prob: The elements' log-densities, of that shape, if the result is to meet
            their score terms and nothing else, to every order. Elements that share a
            cost have one score together: each then sees the scores of those before it,
            so that their terms add up to ``cost * (exp(L - stop(L)) - 1)`` with ``L``
            the sum of the log-densities.

    Example:
        >>> c = torch.tensor([5.0], requires_grad=True)
        >>> s = spread(c, (4,))
        >>> s.tolist(), torch.autograd.grad(s.sum(), c)[0].item()
        ([5.0, 5.0, 5.0, 5.0], 1.0)
    """
    if cost.shape == tuple(shape):
        return cost
    target = torch.broadcast_shapes(cost.shape, tuple(shape))
    if log_prob is not None:
        return cost + score_term(cost, _sum_before(log_prob, cost.shape))
    if not cost.requires_grad:
        return cost.expand(target)
    copies = torch.Size(target).numel() // max(cost.numel(), 1)
    held = cost.detach()
    return (held + (cost - held) / copies).expand(target)


def _sum_before(log_prob: Tensor, cost_shape: torch.Size) -> Tensor:
    """Sum of the log-densities of the elements before each that share its cost."""
    shared = [
        d
        for d in range(-log_prob.dim(), 0)
        if log_prob.shape[d] > 1 and (-d > len(cost_shape) or cost_shape[d] == 1)
    ]
    ends = list(range(-len(shared), 0))
    moved = log_prob.movedim(shared, ends)
    joined = moved.flatten(-len(shared)) if shared else moved.unsqueeze(-1)
    before = joined.cumsum(-1) - joined
    return before.reshape(moved.shape).movedim(ends, shared)
