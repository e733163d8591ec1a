"""Estimating a problem's gradient with an estimator: one by one, or many replicates."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from typing import Any

import pyro
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.estimator import Estimator
from pgplugins.core.fit import misfit
from pgplugins.core.parts import element
from pgplugins.core.problem import (
    Expectation,
    Parameters,
    Problem,
    Program,
    Variational,
)
from pgplugins.functional import expectation
from pgplugins.infer.choice import EstimatorLike
from pgplugins.infer.elbo import ELBO
from pgplugins.infer.expected_cost import ExpectedCost
from pgplugins.plugins import Site

Choose = Callable[[Site], EstimatorLike | None]


class Estimation:
    """Estimates a problem's gradient, keeping the estimator's state between calls.

    Args:
        problem: What to estimate.
        estimator: The estimator under test, or for a program a choice for every site.
        particles: Independent draws per estimate.
        dtype: Of the parameters.
        vectorized: Draw a program's particles side by side.
        varied: The parameters that are differentiated for; by default all.
    """

    def __init__(
        self,
        problem: Problem,
        estimator: Estimator | Choose,
        particles: int,
        *,
        dtype: torch.dtype = torch.float64,
        vectorized: bool = True,
        varied: Collection[str] | None = None,
    ) -> None:
        """Keep the estimator; nothing is drawn yet."""
        self._varied = frozenset(problem.parameters if varied is None else varied)
        self.problem = problem
        self.particles = particles
        self.dtype = dtype
        self._objectives: dict[bool, Any] = {}
        self._vectorized = vectorized
        self._estimator = estimator
        self._choose: Choose | None = (
            where_it_fits(estimator) if isinstance(estimator, Estimator) else estimator
        )

    def copy(self) -> Estimation:
        """Return an estimation that goes on from the same state by itself."""
        return copy.deepcopy(self, {id(self.problem): self.problem})

    def replicates(self, size: int) -> Tensor:
        """Return independent estimates from one call, ``(size, coordinates)``.

        Every replicate has parameters of its own. For an expectation the first column
        is the value.
        """
        leaves = self._leaves(size)
        loss = self._loss(leaves, size)
        parts = [g.reshape(size, -1) for g in _gradients(loss, leaves)]
        if isinstance(self.problem.objective, Expectation):
            parts.insert(0, loss.detach().reshape(size, -1).sum(-1, keepdim=True))
        return torch.cat(parts, -1)

    def once(self) -> Tensor:
        """Return the value and the gradient of one estimate, ``(1 + coordinates,)``."""
        leaves = self._leaves()
        loss = self._loss(leaves, None)
        parts = [g.reshape(-1) for g in _gradients(loss, leaves)]
        return torch.cat([loss.detach().sum().reshape(1), *parts])

    def hessian(self) -> Tensor:
        """Return the second derivatives of one estimate, ``(coordinates ** 2,)``."""
        leaves = self._leaves()
        loss = self._loss(leaves, None).sum()
        first = torch.cat(
            [g.reshape(-1) for g in _gradients(loss, leaves, create_graph=True)]
        )
        rows = [
            torch.cat(
                [g.reshape(-1) for g in _gradients(entry, leaves, retain_graph=True)]
            )
            for entry in first
        ]
        return torch.cat(rows)

    def hessians(self, size: int) -> Tensor:
        """Return independent second derivatives, ``(size, coordinates ** 2)``."""
        leaves = self._leaves(size)
        loss = self._loss(leaves, size).sum()
        first = torch.cat(
            [g.reshape(size, -1) for g in _gradients(loss, leaves, create_graph=True)],
            -1,
        )
        rows = [
            torch.cat(
                [
                    g.reshape(size, -1)
                    for g in _gradients(column.sum(), leaves, retain_graph=True)
                ],
                -1,
            )
            for column in first.unbind(-1)
        ]
        return torch.cat(rows, -1)

    @property
    def truth(self) -> Tensor:
        """The exact value and gradient: what :meth:`once` estimates."""
        return torch.cat([self.problem.value().reshape(1), self.problem.gradient()])

    @property
    def replicated_truth(self) -> Tensor:
        """What :meth:`replicates` estimates."""
        if isinstance(self.problem.objective, Expectation):
            return self.truth
        return self.problem.gradient()

    @property
    def labels(self) -> list[str]:
        """What the entries of :attr:`truth` are."""
        return ["the value", *self.problem.coordinates]

    @property
    def replicated_labels(self) -> list[str]:
        """What the entries of :attr:`replicated_truth` are."""
        if isinstance(self.problem.objective, Expectation):
            return self.labels
        return self.problem.coordinates

    def _leaves(self, *replicates: int) -> Parameters:
        leaves = self.problem.leaves(*replicates, dtype=self.dtype)
        for name, leaf in leaves.items():
            leaf.requires_grad_(name in self._varied)
        return leaves

    def _loss(self, leaves: Parameters, size: int | None) -> Tensor:
        objective = self.problem.objective
        if isinstance(objective, Expectation):
            assert isinstance(self._estimator, Estimator)
            return expectation(
                lambda x: objective.cost(x, leaves),
                objective.law(leaves),
                estimator=self._estimator,
                num_samples=self.particles,
            )
        inside = in_replicates(size, objective.plates)
        front = self.front(objective, replicated=size is not None)
        if isinstance(objective, Program):
            loss: Tensor = front(inside(objective.program), leaves)
        else:
            loss = front.differentiable_loss(
                inside(objective.model), inside(objective.guide), leaves
            )
        return loss

    def front(self, objective: Program | Variational, *, replicated: bool) -> Any:
        """Return the objective that holds the state of the sites' estimators."""
        front = self._objectives.get(replicated)
        if front is None:
            kind = ExpectedCost if isinstance(objective, Program) else ELBO
            front = self._objectives[replicated] = kind(
                estimators=self._choose,
                num_particles=self.particles,
                vectorize_particles=self._vectorized,
                max_plate_nesting=objective.plates + replicated,
            )
        return front


def where_it_fits(estimator: Estimator) -> Choose:
    """Give the estimator every site that it serves, and the others a good partner."""

    def choose(site: Site) -> EstimatorLike:
        return estimator if misfit(estimator, site.dist) is None else partner(site.dist)

    return choose


def partner(law: Distribution) -> str:
    """Name a built-in estimator with little variance for a law."""
    if law.has_rsample:
        return "reparameterized"
    return "enumerate" if element(law).has_enumerate_support else "score_function"


def in_replicates(
    size: int | None, plates: int
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put a program into an outermost plate of replicates, if there are any."""

    def wrap(program: Callable[..., Any]) -> Callable[..., Any]:
        if size is None:
            return program
        wrapped: Callable[..., Any] = pyro.plate("replicates", size, dim=-1 - plates)(
            program
        )
        return wrapped

    return wrap


def laws_of(problem: Problem) -> list[Distribution]:
    """Return the laws of the random sites of a problem, from one plain run."""
    objective = problem.objective
    if isinstance(objective, Expectation):
        return [objective.law(problem.leaves())]
    survey = _Survey()
    with torch.random.fork_rng(devices=[]), survey:
        if isinstance(objective, Program):
            objective.program(problem.leaves())
        else:
            objective.guide(problem.leaves())
    return survey.laws


class _Survey(Messenger):
    """Notes the laws of all sites, and takes costs out of the way."""

    def __init__(self) -> None:
        super().__init__()
        self.laws: list[Distribution] = []

    def _pyro_post_sample(self, msg: Any) -> None:
        if not (msg["is_observed"] or site_is_subsample(msg)):
            self.laws.append(msg["fn"])

    def _pyro_pgplugins_cost(self, msg: Any) -> None:
        msg["done"] = msg["kept"] = True


def _gradients(
    loss: Tensor,
    leaves: Parameters,
    *,
    create_graph: bool = False,
    retain_graph: bool = False,
) -> tuple[Tensor, ...]:
    """Gradients for all leaves; zeros where there is none or none is asked for."""
    varied = [leaf for leaf in leaves.values() if leaf.requires_grad]
    if not loss.requires_grad or not varied:
        return tuple(torch.zeros_like(leaf) for leaf in leaves.values())
    found = iter(
        torch.autograd.grad(
            loss.sum(),
            varied,
            create_graph=create_graph,
            retain_graph=create_graph or retain_graph,
            allow_unused=True,
            materialize_grads=True,
        )
    )
    return tuple(
        next(found) if leaf.requires_grad else torch.zeros_like(leaf)
        for leaf in leaves.values()
    )
