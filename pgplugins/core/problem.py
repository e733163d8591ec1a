"""A problem: an expected cost that is known exactly, to prove estimators on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.errors import InputError

Parameters: TypeAlias = Mapping[str, Tensor]


@dataclass(frozen=True)
class Expectation:
    """The expected cost of one draw.

    Args:
        law: Maps parameters to the distribution.
        cost: Maps samples ``(samples, *batch, *event)`` and parameters to costs
            ``(samples, *batch)``.

    Example:
        A cost that depends on a parameter directly as well:

        >>> import torch
        >>> from torch.distributions import Normal
        >>> gap = Expectation(
        ...     law=lambda p: Normal(p["mu"], 1.0), cost=lambda x, p: (x - p["k"]) ** 2
        ... )
        >>> at = {"mu": torch.tensor(1.0), "k": torch.tensor(3.0)}
        >>> gap.law(at).mean, gap.cost(torch.tensor([2.0, 5.0]), at)
        (tensor(1.), tensor([1., 4.]))
    """

    law: Callable[[Parameters], Distribution]
    cost: Callable[[Tensor, Parameters], Tensor]


@dataclass(frozen=True)
class Program:
    """The expected total cost of a Pyro program with :func:`pgplugins.cost` terms.

    Args:
        program: Takes the parameters.
        plates: How many batch dimensions its plates use. Every parameter carries as
            many in front of its own, of size one where it is global.

    Example:
        Two coins in a plate, and the cost of their heads, whose gradient is 3 for each:

        >>> import torch, pyro, pyro.distributions as dist, pgplugins as pg
        >>> from pgplugins.testing.problems import Problem
        >>> def coins(p):
        ...     with pyro.plate("coins", 2, dim=-1):
        ...         heads = pyro.sample("heads", dist.Bernoulli(p["p"]))
        ...         pg.cost("heads", 3 * heads)
        >>> problem = Problem(
        ...     name="coins",
        ...     parameters={"p": torch.tensor([0.2, 0.7], dtype=torch.float64)},
        ...     objective=Program(coins, plates=1),
        ...     expected_cost=lambda p: 3 * p["p"],
        ... )
        >>> objective = pg.ExpectedCost(estimators="enumerate")
        >>> leaves = problem.leaves()
        >>> objective(coins, leaves).backward()
        >>> leaves["p"].grad.allclose(problem.gradient())
        True
    """

    program: Callable[[Parameters], Any]
    plates: int = 0


@dataclass(frozen=True)
class Variational:
    """The negative evidence lower bound of a model and a guide.

    Args:
        model: Takes the parameters.
        guide: Takes the parameters.
        plates: As for :class:`Program`.

    Example:
        >>> import torch, pyro, pyro.distributions as dist, pgplugins as pg
        >>> from pgplugins.testing.problems import Problem
        >>> def model(p):
        ...     pyro.sample("z", dist.Normal(0.0, 1.0))
        >>> def guide(p):
        ...     pyro.sample("z", dist.Normal(p["mu"], 1.0))
        >>> shifted = Problem(
        ...     name="shifted",
        ...     parameters={"mu": torch.tensor(2.0, dtype=torch.float64)},
        ...     objective=Variational(model, guide),
        ...     expected_cost=lambda p: p["mu"] ** 2 / 2,
        ... )
        >>> leaves = shifted.leaves()
        >>> elbo = pg.ELBO(analytic_kl=True)
        >>> elbo.differentiable_loss(model, guide, leaves).backward()
        >>> leaves["mu"].grad.item(), shifted.gradient().item()
        (2.0, 2.0)
    """

    model: Callable[[Parameters], Any]
    guide: Callable[[Parameters], Any]
    plates: int = 0


@dataclass(frozen=True)
class Problem:
    """An expected cost whose value and gradient are known exactly.

    Functions count dimensions from the right: the kit hands them parameters with
    further dimensions in front, one copy per replicate.

    Args:
        name: An identifier, unique among the problems.
        parameters: Where the gradient is taken; floating point, in double precision.
        objective: What is estimated.
        expected_cost: The exact value as a differentiable function of the parameters: a
            closed form, an enumeration, dynamic programming or a quadrature. Its sum is
            what the gradient is of.
        differentiable_cost: The cost is continuous in the draws, and has a gradient.

    Raises:
        InputError: The name is no identifier or a parameter is not in double precision.

    Example:
        >>> import torch
        >>> from torch.distributions import Normal
        >>> from pgplugins.testing.problems import Expectation
        >>> square = Problem(
        ...     name="square",
        ...     parameters={"mu": torch.tensor(0.5).double()},
        ...     objective=Expectation(
        ...         law=lambda p: Normal(p["mu"], 1.0), cost=lambda x, p: x**2
        ...     ),
        ...     expected_cost=lambda p: p["mu"] ** 2 + 1,
        ... )
        >>> square.value().item(), square.gradient().tolist(), square.hessian().tolist()
        (1.25, [1.0], [[2.0]])
        >>> square.coordinates, square.leaves(3)["mu"].shape  # of three replicates
        (['mu'], torch.Size([3]))
    """

    name: str
    parameters: Parameters
    objective: Expectation | Program | Variational
    expected_cost: Callable[[Parameters], Tensor] = field(repr=False)
    differentiable_cost: bool = True

    def __post_init__(self) -> None:
        """Refuse what would make every comparison meaningless."""
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise InputError(f"Problem(name={self.name!r}): write an identifier.")
        for name, value in self.parameters.items():
            if not isinstance(value, Tensor) or value.dtype != torch.float64:
                raise InputError(
                    f"Problem {self.name!r}: parameter {name!r} must be a tensor in "
                    "double precision; write torch.tensor(..., dtype=torch.float64)."
                )

    @property
    def coordinates(self) -> list[str]:
        """A label for every entry of :meth:`gradient`, such as ``"mu[0]"``."""
        return [
            name if value.numel() == 1 else f"{name}[{i}]"
            for name, value in self.parameters.items()
            for i in range(value.numel())
        ]

    def leaves(
        self, *replicates: int, dtype: torch.dtype = torch.float64
    ) -> dict[str, Tensor]:
        """Return copies to differentiate for, shape ``(*replicates, *shape)`` each.

        Args:
            *replicates: Dimensions in front of the parameters' own.
            dtype: Of the copies.
        """
        return {
            name: value.detach()
            .to(dtype)
            .expand((*replicates, *value.shape))
            .clone()
            .requires_grad_()
            for name, value in self.parameters.items()
        }

    def value(self) -> Tensor:
        """Return the exact expected cost, summed over batch elements: a scalar."""
        return self.expected_cost(self.parameters).sum().detach()

    def gradient(self) -> Tensor:
        """Return the exact gradient, shape ``(coordinates,)`` over all parameters."""
        leaves = self.leaves()
        total = self.expected_cost(leaves).sum()
        parts = torch.autograd.grad(total, list(leaves.values()))
        return torch.cat([part.reshape(-1) for part in parts])

    def hessian(self) -> Tensor:
        """Return the exact second derivatives, shape ``(coordinates, coordinates)``."""
        leaves = self.leaves()
        tensors = list(leaves.values())
        total = self.expected_cost(leaves).sum()
        first = torch.autograd.grad(total, tensors, create_graph=True)
        rows = []
        for entry in torch.cat([part.reshape(-1) for part in first]):
            parts = (
                torch.autograd.grad(
                    entry, tensors, retain_graph=True, materialize_grads=True
                )
                if entry.requires_grad
                else [torch.zeros_like(t) for t in tensors]
            )
            rows.append(torch.cat([part.reshape(-1) for part in parts]))
        return torch.stack(rows)
