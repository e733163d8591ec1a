"""Losses whose gradients are taken one by one, so that one graph at a time is held."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from pgplugins.core.graph import leaves_below
from pgplugins.errors import InputError


def take_gradients(parts: Iterable[Tensor]) -> Tensor:
    """Add up losses, each differentiated before the next one is made.

    The sum has the gradients of the losses for every leaf tensor that they depend on,
    but not their graphs: ``backward()`` hands out what has been found.

    Args:
        parts: Scalars; they are made one by one.

    Raises:
        InputError: In a second derivative, which has no graph to go through.

    Example:
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> loss = take_gradients(k * x**2 for k in (1.0, 2.0))
        >>> loss.backward()
        >>> loss.item(), x.grad.item()
        (27.0, 18.0)
    """
    value: Tensor | None = None
    leaves: dict[int, Tensor] = {}
    sums: dict[int, Tensor] = {}
    for part in parts:
        held = part.detach()
        value = held if value is None else value + held
        found = leaves_below(part)
        if found:
            # What several parts have in common may have a graph of its own: it stays.
            gradients = torch.autograd.grad(part, found, retain_graph=True)
            for leaf, gradient in zip(found, gradients, strict=True):
                key = id(leaf)
                leaves[key] = leaf
                sums[key] = sums[key] + gradient if key in sums else gradient
        del part  # before the next one is made
    assert value is not None
    if not leaves:
        return value
    total: Tensor = _Taken.apply(  # type: ignore[no-untyped-call]
        value, *sums.values(), *leaves.values()
    )
    return total


class _Taken(torch.autograd.Function):
    """A value with gradients that are known."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *known: Tensor) -> Tensor:
        ctx.save_for_backward(*known[: len(known) // 2])
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise InputError(
                "Particles in chunks (chunk_size=...) are differentiated chunk by "
                "chunk, once, so that their loss has no second derivatives. Leave "
                "chunk_size out for those."
            )
        known = ctx.saved_tensors
        return None, *(None for _ in known), *(gradient * part for part in known)
