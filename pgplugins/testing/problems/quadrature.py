"""Exact expectations as sums over points: enumeration, series and quadrature."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pgplugins.core.problem import Expectation, Parameters


class Points(NamedTuple):
    """Where a density is summed: ``E f = sum_k weight_k p(x_k) f(x_k)``.

    Args:
        values: Shape ``(points, *event_shape)``.
        weights: Shape ``(points,)``: one for a mass, the spacing for a density.
    """

    values: Tensor
    weights: Tensor


def counts(largest: int) -> Points:
    """The integers from 0; what lies beyond must have no mass worth counting."""
    values = torch.arange(largest + 1, dtype=torch.float64)
    return Points(values, torch.ones_like(values))


def real_line(reach: float = 16.0, size: int = 4001) -> Points:
    """A trapezoidal rule, which converges exponentially for smooth densities."""
    values = torch.linspace(-reach, reach, size, dtype=torch.float64)
    return Points(values, torch.full_like(values, 2 * reach / (size - 1)))


def half_line() -> Points:
    """The trapezoidal rule for ``x = exp(t)``."""
    t, spacing = real_line(24.0)
    return Points(t.exp(), spacing * t.exp())


def unit_interval() -> Points:
    """The trapezoidal rule for ``x = sigmoid(t)``."""
    t, spacing = real_line(24.0)
    x = t.sigmoid()
    return Points(x, spacing * x * (-t).sigmoid())


def open_interval() -> Points:
    """The trapezoidal rule for ``x = tanh(t)``, on (-1, 1)."""
    t, spacing = real_line(7.0)
    return Points(t.tanh(), spacing / t.cosh() ** 2)


def summed(objective: Expectation, points: Points, p: Parameters) -> Tensor:
    """Return the expected cost of every batch element by summing over points."""
    law = objective.law(p)
    batch = len(law.batch_shape)
    size = points.weights.shape[0]
    event = points.values.shape[1:]
    values = points.values.reshape(size, *(1,) * batch, *event)
    values = values.expand(size, *law.batch_shape, *event)
    weights = points.weights.reshape(size, *(1,) * batch)
    terms = weights * law.log_prob(values).exp() * objective.cost(values, p)
    return terms.sum(0)
