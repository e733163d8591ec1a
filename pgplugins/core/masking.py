"""Recorded draws of which some are none: padding behind an episode's end."""

from __future__ import annotations

import torch
from torch import Tensor

from pgplugins.errors import InputError, InputTypeError, ShapeError


def fill_masked(value: Tensor, mask: Tensor, what: str) -> Tensor:
    """Put a draw that counts in place of those that do not.

    Padding may lie outside of the distribution's support; a density there, even times
    zero, would spoil the gradient.

    Args:
        value: Shape ``(*B, *event)``.
        mask: False where a draw does not count, shape ``B``, bool.
        what: The function that was called, for the message.

    Raises:
        InputTypeError: The mask is no tensor of bool.
        ShapeError: The mask's shape is not ``B``.
        InputError: No draw counts.

    Example:
        >>> mask = torch.tensor([False, True, True])
        >>> fill_masked(torch.tensor([-1, 2, 3]), mask, "f")
        tensor([2, 2, 3])
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        found = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise InputTypeError(
            f"{what}: mask must be a tensor of bool, False where a step does not "
            f"count; found {found}."
        )
    if value.shape[: mask.dim()] != mask.shape:
        raise ShapeError(
            f"{what}: mask has shape {tuple(mask.shape)}, and recorded draws of shape "
            f"{tuple(value.shape)}: one entry per recorded draw."
        )
    if not mask.any():
        raise InputError(f"{what}: mask leaves no step that counts.")
    keep = mask.reshape(*mask.shape, *(1,) * (value.dim() - mask.dim()))
    return torch.where(keep, value, value[mask][0])
