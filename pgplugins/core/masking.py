"""Recorded draws of which some are none: padding behind an episode's end."""

from __future__ import annotations

import torch
from torch import Tensor

from pgplugins.errors import InputError, InputTypeError, ShapeError


def require_mask(mask: Tensor, shape: torch.Size, what: str) -> None:
    """Raise unless a mask says of every recorded draw whether it counts.

    Args:
        mask: False where a draw does not count.
        shape: The recorded draws' shape without events.
        what: The function that was called, for the message.

    Raises:
        InputTypeError: The mask is no tensor of bool.
        ShapeError: It has another shape.
        InputError: No draw counts.

    Example:
        >>> require_mask(torch.tensor([True, False]), torch.Size([2]), "f")
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        found = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise InputTypeError(
            f"{what}: mask must be a tensor of bool, False where a step does not "
            f"count; found {found}."
        )
    if mask.shape != shape:
        raise ShapeError(
            f"{what}: mask has shape {tuple(mask.shape)}, the recorded draws have "
            f"{tuple(shape)}: one entry per recorded draw."
        )
    if not mask.any():
        raise InputError(f"{what}: mask leaves no step that counts.")


def fill_masked(value: Tensor, mask: Tensor) -> Tensor:
    """Put a draw that counts in place of those that do not.

    Padding may lie outside of the distribution's support; a density there, even times
    zero, would spoil the gradient.

    Args:
        value: Shape ``(*B, *event)``.
        mask: What :func:`require_mask` has let pass, shape ``B``.

    Example:
        >>> fill_masked(torch.tensor([-1, 2, 3]), torch.tensor([False, True, True]))
        tensor([2, 2, 3])
    """
    keep = mask.reshape(*mask.shape, *(1,) * (value.dim() - mask.dim()))
    return torch.where(keep, value, value[mask][0])
