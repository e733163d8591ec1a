"""Exact gradients of expected costs, by quadrature and by summation.

Nothing here asks the distribution whose gradient is in question: densities are scipy's
or written out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.families.family import Family

Truth = Callable[[Family], dict[str, Tensor]]
STEP = 2e-3


def _differences(
    family: Family, expected: Callable[[dict[str, np.ndarray]], float]
) -> dict[str, Tensor]:
    """Differentiate by central differences of fourth order."""
    start = {k: np.array(v, dtype=float) for k, v in family.start.items()}
    found = {}
    for name, value in start.items():
        slope = np.zeros_like(value)
        for index in np.ndindex(value.shape):
            step = STEP * max(1.0, abs(float(value[index])))

            def at(shift: float, name: str = name, index: Any = index) -> float:
                moved = {k: v.copy() for k, v in start.items()}
                moved[name][index] += shift
                return expected(moved)

            slope[index] = (
                8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))
            ) / (12 * step)
        found[name] = torch.tensor(slope)
    return found


def _cost(family: Family, x: np.ndarray) -> np.ndarray:
    return family.cost(torch.as_tensor(x), 0).numpy()


def density(law: Callable[..., Any]) -> Truth:
    """Integrate along the quantiles of ``law(**parameters)``, a frozen scipy law.

    E f(X) is the mean of f at the quantiles of u over the unit interval, written as the
    logistic of t: the integrand falls like exp(-|t|) whatever the tails and the bounds.
    """
    t = np.linspace(-32.0, 32.0, 2001)
    low, high = 1 / (1 + np.exp(-t)), 1 / (1 + np.exp(t))
    weight = low * high
    weight /= weight.sum()

    def truth(family: Family) -> dict[str, Tensor]:
        def expected(values: dict[str, np.ndarray]) -> float:
            frozen = law(**{k: float(v) for k, v in values.items()})
            left, right = frozen.ppf(low[t < 0]), frozen.isf(high[t >= 0])
            cost = _cost(family, np.concatenate([left, right]))
            return float((cost * weight).sum())

        return _differences(family, expected)

    return truth


def mass(law: Callable[..., Any], largest: int = 400) -> Truth:
    """Sum against ``law(**parameters)``, a frozen scipy law or a function of counts."""
    points = np.arange(largest + 1.0)

    def truth(family: Family) -> dict[str, Tensor]:
        cost = _cost(family, points)

        def expected(values: dict[str, np.ndarray]) -> float:
            frozen = law(**{k: v if v.ndim else float(v) for k, v in values.items()})
            weights = frozen.pmf(points) if hasattr(frozen, "pmf") else frozen(points)
            return float((cost * weights).sum())

        return _differences(family, expected)

    return truth


def integral(expected: Callable[..., Tensor]) -> Truth:
    """Differentiate ``expected(cost, **parameters)`` by autograd."""

    def truth(family: Family) -> dict[str, Tensor]:
        values = family.parameters()
        event_dim = len(family.law().event_shape)
        total = expected(lambda x: family.cost(x, event_dim), **values)
        slopes = torch.autograd.grad(total, list(values.values()), allow_unused=True)
        return {
            k: torch.zeros_like(v) if s is None else s
            for (k, v), s in zip(values.items(), slopes, strict=True)
        }

    return truth


def normal_grid(
    dim: int, points: int = 161, reach: float = 8.0
) -> tuple[Tensor, Tensor]:
    """Return points and weights: the trapezoidal rule converges fast for a normal."""
    line = torch.linspace(-reach, reach, points, dtype=torch.float64)
    mesh = torch.cartesian_prod(*[line] * dim).reshape(-1, dim)
    weight = torch.exp(-0.5 * mesh.square().sum(-1))
    return mesh, weight / weight.sum()


def uniform_grid(points: int = 200_000) -> Tensor:
    """Return midpoints of equal cells of the unit interval."""
    return (torch.arange(points, dtype=torch.float64) + 0.5) / points


def log_chi2(df: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """Return the logarithms of Chi2 draws, equally spaced, and their weights."""
    w = torch.linspace(-14.0, 5.0, points, dtype=torch.float64)
    return w, torch.softmax(0.5 * df * w - 0.5 * w.exp(), 0)


def logistic_grid(points: int, reach: float = 30.0) -> tuple[Tensor, Tensor]:
    """Return points of the unit interval, dense at both ends, and their weights."""
    t = torch.linspace(-reach, reach, points, dtype=torch.float64)
    weight = torch.sigmoid(t) * torch.sigmoid(-t)
    return torch.sigmoid(t), weight / weight.sum()


def of_normal(cost: Callable[[Tensor], Tensor], loc: Tensor, factor: Tensor) -> Tensor:
    """E cost(loc + factor z) for standard normal z of one to three dimensions."""
    dim = loc.shape[-1]
    z, weight = normal_grid(dim, {1: 801, 2: 161, 3: 101}[dim], 6.5)
    return (cost(loc + z @ factor.mT) * weight).sum()
