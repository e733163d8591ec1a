"""Formulas for operations whose usual ones share less work with their derivatives.

A Bernoulli likelihood and its gradient need one exponential between them, that of minus
the logit's absolute value, and not three.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
_NONE = 0  # of torch's reductions


def _cross_entropy(
    self: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    reduction: int = 1,
) -> Any:
    if weight is not None or pos_weight is not None or reduction != _NONE:
        return NotImplemented
    small = torch.exp(-self.abs())
    return self.clamp_min(0) - self * target + torch.log(1 + small)


def _sigmoid(self: Tensor) -> Any:
    if not self.is_floating_point():
        return NotImplemented
    small = torch.exp(-self.abs())
    return torch.where(self >= 0, 1.0, small) / (1 + small)


FORMULAS: dict[Any, Callable[..., Any]] = {
    aten.binary_cross_entropy_with_logits.default: _cross_entropy,
    aten.sigmoid.default: _sigmoid,
}
