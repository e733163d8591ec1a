"""Formulas for operations that the compiler would leave as they are.

A Bernoulli likelihood and its gradient need one exponential between them, that of minus
the logit's absolute value, and not three. A product of small matrices is written out,
and becomes part of the loops around it: a library's call takes longer than the work,
and cuts a rollout into as many pieces, to be compiled one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
_NONE = 0  # of torch's reductions
_SMALL = 4096  # multiplications


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


def _product(self: Tensor, mat2: Tensor) -> Any:
    count = self.shape[0] * self.shape[1] * mat2.shape[1]
    if count > _SMALL or self.device.type != "cpu":
        return NotImplemented
    return (self.unsqueeze(-1) * mat2).sum(1)


def _products(self: Tensor, mat2: Tensor) -> Any:
    if self.numel() * mat2.shape[2] > _SMALL or self.device.type != "cpu":
        return NotImplemented
    return (self.unsqueeze(-1) * mat2.unsqueeze(1)).sum(2)


def _affine(
    self: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Any:
    product = _product(mat1, mat2)
    if product is NotImplemented:
        return product
    return product * alpha + self * beta


FORMULAS: dict[Any, Callable[..., Any]] = {
    aten.binary_cross_entropy_with_logits.default: _cross_entropy,
    aten.sigmoid.default: _sigmoid,
    aten.mm.default: _product,
    aten.bmm.default: _products,
    aten.addmm.default: _affine,
}
