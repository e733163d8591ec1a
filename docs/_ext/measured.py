"""Gradients measured in bulk: means and variances of one call of ``pg.expectation``.

Replicates lie side by side as batch elements with leaves of their own, so that one
backward pass yields the gradients of thousands of independent calls. An estimator that
learns is shown the same problem some calls before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

import pgplugins as pg

Parameters = Mapping[str, Tensor]


@dataclass(frozen=True)
class Case:
    """An expected cost, and what its gradient is taken for.

    Args:
        title: What it is called in a figure.
        parameters: Values without batch dimensions; one leaf per replicate is made.
        law: From parameters to the distribution, elementwise over batch dimensions.
        cost: From draws to costs, elementwise over batch dimensions.
    """

    title: str
    parameters: Mapping[str, Any]
    law: Callable[[Parameters], Distribution]
    cost: Callable[[Tensor], Tensor]

    def leaves(self, replicates: int) -> dict[str, Tensor]:
        """Return the parameters of each replicate, shape ``(replicates, ...)``."""
        made = {}
        for name, value in self.parameters.items():
            one = torch.as_tensor(value, dtype=torch.float64)
            made[name] = one.expand(replicates, *one.shape).clone().requires_grad_()
        return made


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Args:
        samples: Independent draws in one call.
        replicates: Calls whose gradients are compared.
        warmup: Calls before, from which an estimator may learn.
        learning: Replicates in each of those.
        seed: Fixes every random number.
    """

    samples: int = 8
    replicates: int = 10_000
    warmup: int = 100
    learning: int = 32
    seed: int = 0


@dataclass(frozen=True)
class Measured:
    """What the gradients of one call are like.

    Args:
        mean: Mean gradient by parameter.
        variance: Variance by parameter, elements summed.
        error: Standard errors of those variances.
        evaluations: How many times a draw evaluates the cost.
    """

    mean: dict[str, Tensor]
    variance: dict[str, float]
    error: dict[str, float]
    evaluations: float

    @property
    def total(self) -> float:
        """Variance, summed over all parameters."""
        return sum(self.variance.values())


@dataclass
class _Counted:
    """A cost, and how many costs it has returned."""

    cost: Callable[[Tensor], Tensor]
    count: int = field(default=0)

    def __call__(self, value: Tensor) -> Tensor:
        costs = self.cost(value)
        self.count += costs.numel()
        return costs


def measure(case: Case, name: str, settings: Settings, **options: Any) -> Measured:
    """Measure an estimator on a case.

    Args:
        case: What is estimated.
        name: The estimator's.
        settings: How much is measured.
        **options: The estimator's.

    Raises:
        pgplugins.PgpluginsError: The estimator does not serve the case.
    """
    torch.manual_seed(settings.seed)
    estimator = pg.estimator(name, **options)
    cost = _Counted(case.cost)

    def gradients(replicates: int) -> dict[str, Tensor]:
        leaves = case.leaves(replicates)
        loss = pg.expectation(
            cost, case.law(leaves), estimator=estimator, num_samples=settings.samples
        )
        found = torch.autograd.grad(loss.sum(), list(leaves.values()))
        return dict(zip(leaves, found, strict=True))

    for _ in range(settings.warmup):
        gradients(settings.learning)
    cost.count = 0
    return moments(
        gradients(settings.replicates),
        evaluations=cost.count / (settings.replicates * settings.samples),
    )


def moments(gradients: Mapping[str, Tensor], evaluations: float) -> Measured:
    """Summarise gradients, shape ``(replicates, ...)`` by parameter."""
    squares = {
        name: (g - g.mean(0)).square().flatten(1).sum(1)
        if g.dim() > 1
        else (g - g.mean()).square()
        for name, g in gradients.items()
    }
    return Measured(
        mean={name: g.mean(0) for name, g in gradients.items()},
        variance={name: s.mean().item() for name, s in squares.items()},
        error={name: (s.std() / len(s) ** 0.5).item() for name, s in squares.items()},
        evaluations=evaluations,
    )
