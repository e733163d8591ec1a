"""Formulas for operations that the compiler would leave as they are.

A Bernoulli likelihood and its gradient need one exponential between them, that of minus
the logit's absolute value, and not three; the logarithm of one plus it is a polynomial,
which a processor works out several times faster than it calls a logarithm. A product
of small matrices is written out, and becomes part of the loops around it: a library's
call takes longer than the work, and cuts a rollout into as many pieces, to be compiled
one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.polynomial import Chebyshev, Polynomial
from torch import Tensor
from torch.fx import Graph

aten = torch.ops.aten
_NONE = 0  # of torch's reductions
_MANY = 64  # elements; at fewer, a longer formula only takes the compiler longer
# Multiplications; of a vector with a matrix, which is no more than reading the matrix.
_SMALL, _SMALL_WITH_VECTOR = 4096, 65536
_LANES, _NARROW, _LONG = 8, 32, 512  # of the library's products in single precision

_DEGREE = 9  # the lowest with which rounding is most of the error
_FIRST, *_LOG_RATIO = map(
    float,
    Chebyshev.interpolate(lambda x: np.log1p(x) / x, _DEGREE, domain=[0, 1])
    .convert(kind=Polynomial)
    .coef[::-1],
)
"""Coefficients of ``log(1 + x) / x`` on [0, 1], the highest power first."""


def _log_of_one_plus(small: Tensor) -> Tensor:
    """Return ``log(1 + small)`` of numbers in [0, 1]."""
    if not _is_single(small) or small.numel() < _MANY:
        return torch.log1p(small)
    ratio = torch.full_like(small, _FIRST)
    for coefficient in _LOG_RATIO:
        ratio = ratio * small + coefficient
    return ratio * small


def _is_single(numbers: Tensor) -> bool:
    return numbers.dtype is torch.float32 and numbers.device.type == "cpu"


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return minus the logarithm of a Bernoulli's density, element by element."""
    small = torch.exp(-logits.abs())
    return logits.clamp_min(0) - logits * target + _log_of_one_plus(small)


def write_likelihoods(graph: Graph) -> None:
    """Put :func:`cross_entropy` in the place of torch's.

    This has to be done in the graph: torch takes its own apart before it looks up
    formulas.
    """
    for node in graph.nodes:
        if node.target is not aten.binary_cross_entropy_with_logits.default:
            continue
        logits, target, weight, positive, reduction = [*node.args, None, None, 1][:5]
        if weight is positive is None and reduction == _NONE:
            node.target, node.args = cross_entropy, (logits, target)


def _sigmoid(self: Tensor) -> Any:
    if not self.is_floating_point() or self.numel() < _MANY:
        return NotImplemented
    small = torch.exp(-self.abs())
    return torch.where(self >= 0, 1.0, small) / (1 + small)


def _tanh(self: Tensor) -> Any:
    if not _is_single(self) or self.numel() < _MANY:
        return NotImplemented
    size, square = self.abs(), self * self
    small = torch.exp(-2 * size)
    far = torch.copysign((1 - small) / (1 + small), self)
    # Taylor's series: there the numerator above would lose digits.
    near = 62 / 2835 * square - 17 / 315
    near = (near * square + 2 / 15) * square - 1 / 3
    return torch.where(size < 0.25, self * (1 + square * near), far)


def _is_for_loops(matrix: Tensor) -> bool:
    # Sums of small integers are long ones; their products are not.
    return matrix.device.type == "cpu" and matrix.is_floating_point()


def _product(self: Tensor, mat2: Tensor) -> Any:
    rows, inner, columns = self.shape[0], self.shape[1], mat2.shape[1]
    if not _is_for_loops(self):
        return NotImplemented
    if _is_single(self) and _has_leftover(rows, inner, columns):
        return torch.mm(mat2.t(), self.t()).t().contiguous()
    most = _SMALL_WITH_VECTOR if 1 in (rows, columns) else _SMALL
    if rows * inner * columns > most:
        return NotImplemented
    return (self.unsqueeze(-1) * mat2).sum(1)


def _has_leftover(rows: int, inner: int, columns: int) -> bool:
    """Whether the library is faster at the transposed product.

    It takes eight columns at a time, and is up to five times slower where some are
    left over. The gradient of a regression has as many rows as there are particles.
    """
    leftover = columns <= _NARROW and columns % _LANES != 0
    return leftover and inner >= _LONG and rows >= 2 * _LANES and rows % _LANES == 0


def _products(self: Tensor, mat2: Tensor) -> Any:
    if self.numel() * mat2.shape[2] > _SMALL or not _is_for_loops(self):
        return NotImplemented
    return (self.unsqueeze(-1) * mat2.unsqueeze(1)).sum(2)


def _affine(
    self: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Any:
    product = _product(mat1, mat2)
    if product is NotImplemented or beta == 0:  # then self may be nan
        return NotImplemented
    return product * alpha + self * beta


FORMULAS: dict[Any, Callable[..., Any]] = {
    aten.sigmoid.default: _sigmoid,
    aten.tanh.default: _tanh,
    aten.mm.default: _product,
    aten.bmm.default: _products,
    aten.addmm.default: _affine,
}
