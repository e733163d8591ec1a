"""A chaotic rollout, whose path gradient explodes, against the exact gradient.

The state follows ``x' = 3 sin(x) + u`` with ``u ~ N(gain x, 0.2)``; a step costs
``1 - exp(-x^2)``.
"""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

import pgplugins as pg

NAMES = ("score_function", "reparameterized", "hybrid", "total_propagation")
SIGMA = 0.2


def start() -> dist.Normal:
    """The law of the first state."""
    return dist.Normal(torch.zeros((), dtype=torch.float64), 1.0)


def chaotic(gain: Tensor, steps: int) -> Callable[[], None]:
    """The rollout as a program."""

    def program() -> None:
        x = pyro.sample("x0", start())
        for t in range(steps):
            u = pyro.sample(f"u{t}", dist.Normal(gain * x, SIGMA))
            x = 3 * x.sin() + u
            pg.cost(f"c{t}", 1 - (-(x**2)).exp())

    return program


def exact(gain: Tensor, steps: int) -> Tensor:
    """The gradient by quadrature: the costs to go on a grid of states."""
    grid = torch.linspace(-7, 7, 1401, dtype=torch.float64)
    width = grid[1] - grid[0]
    mean = 3 * grid.sin() + gain * grid
    kernel = dist.Normal(mean.unsqueeze(-1), SIGMA).log_prob(grid).exp() * width
    to_go, cost = torch.zeros_like(grid), 1 - (-(grid**2)).exp()
    for _ in range(steps):
        to_go = kernel @ (cost + to_go)
    total = (start().log_prob(grid).exp() * width * to_go).sum()
    (gradient,) = torch.autograd.grad(total, gain)
    return gradient


def estimates(name: str, steps: int, particles: int, repeats: int) -> Tensor:
    """Gradients at a gain of -0.5, shape ``(repeats,)``."""
    torch.manual_seed(0)
    gain = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True)
    program = chaotic(gain, steps)
    objective = pg.ExpectedCost(
        estimators={"u*": name, "x0": "reparameterized"},
        num_particles=particles,
        max_plate_nesting=0,
    )
    found = [torch.autograd.grad(objective(program), gain)[0] for _ in range(repeats)]
    return torch.stack(found)
