"""A value whose cost's slope is seen and goes no further."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.autograd import Function

Note = Callable[[Tensor, Tensor], None]


class Tap:
    """What a program is shown in place of a draw with a path.

    The slope of the loss at the draw comes back to :attr:`note` and not to the path, so
    that the draw counts as detached, and its path can be looked at all the same.

    Args:
        value: A draw with its path, shape ``(*batch_shape, *event_shape)``.
        batch: The number of batch dimensions.

    Example:
        >>> import torch
        >>> x = torch.tensor([3.0], requires_grad=True)
        >>> tap = Tap(2 * x, 1)
        >>> tap.note = lambda slope, weight: print(slope.item(), weight.item())
        >>> (tap.seen**2 + 0.5 * tap.probe).sum().backward()
        12.0 0.5
        >>> x.grad.item()
        0.0
    """

    note: Note | None = None

    def __init__(self, value: Tensor, batch: int) -> None:
        """Show the value."""
        seen, probe = _Tap.apply(self, batch, value)  # type: ignore[no-untyped-call]
        self.seen: Tensor = seen
        """The value: what the program gets to see."""
        self.probe: Tensor = probe
        """Zero, shape ``batch_shape``: its slope is what a cost counts for."""


class _Tap(Function):
    @staticmethod
    def forward(ctx: Any, tap: Tap, batch: int, value: Tensor) -> Any:
        ctx.tap = tap
        return value.view_as(value), value.new_zeros(value.shape[:batch])

    @staticmethod
    def backward(ctx: Any, slope: Tensor, weight: Tensor) -> Any:
        # What is behind the value runs after this, so its graph is still there.
        if ctx.tap.note is not None:
            ctx.tap.note(slope.detach(), weight.detach())
        return None, None, slope.new_zeros(slope.shape)
