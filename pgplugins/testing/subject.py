"""The estimator under test, as the checks get to see it."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Any

import torch
from torch.distributions import Distribution, Normal

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.fit import misfit
from pgplugins.core.problem import Expectation, Parameters, Problem
from pgplugins.errors import PgpluginsError
from pgplugins.testing.estimation import Estimation, laws_of
from pgplugins.testing.evidence import CheckFailed, Ledger
from pgplugins.testing.problems import available

_MOST_PARTICLES = 4
_NUMBERS = 3_200_000  # drawn at once, at most, but for
_FEWEST = 100  # draws, however many numbers they are


class Subject:
    """Hands out copies of an estimator, and knows what it serves.

    Args:
        estimator: Never modified.
    """

    def __init__(self, estimator: Estimator) -> None:
        """Keep a copy that nobody else has."""
        self._pristine = copy.deepcopy(estimator)
        self.ledger = Ledger()

    @property
    def traits(self) -> Traits:
        """What the estimator declares."""
        return self._pristine.traits

    @property
    def name(self) -> str:
        """The estimator's name."""
        return self._pristine.name

    def fresh(self) -> Estimator:
        """Return a copy in the state in which the estimator was handed over."""
        return copy.deepcopy(self._pristine)

    def serves(self, law: Distribution) -> bool:
        """Whether the estimator says that it serves a law.

        One that cannot answer does not; ``refusals_are_errors`` shows the reason.
        """
        try:
            return misfit(self.fresh(), law) is None
        except Exception:
            return False

    @cached_property
    def problems(self) -> list[Problem]:
        """The problems with a site that the estimator serves."""
        flat = "differentiable_cost" in self.traits.needs
        return [
            problem
            for problem in available()
            if (problem.differentiable_cost or not flat)
            and any(self.serves(law) for law in laws_of(problem))
        ]

    @cached_property
    def expectations(self) -> list[Problem]:
        """Those of one draw."""
        return [p for p in self.problems if isinstance(p.objective, Expectation)]

    def canonical(self, among: list[Problem] | None = None) -> list[Problem]:
        """One discrete and one continuous expectation, as far as it serves any."""
        expectations = self.expectations if among is None else among
        found: dict[bool, Problem] = {}
        for problem in expectations:
            law: Any = laws_of(problem)[0]
            if not law.batch_shape and not law.event_shape:
                found.setdefault(law.support.is_discrete, problem)
        return list(found.values()) or expectations[:1]

    def affordable(self, draws: int, law: Distribution) -> int:
        """Return so many draws from a law, or fewer of one that draws many numbers."""
        numbers = law.batch_shape.numel() * law.event_shape.numel() * self.rows(law)
        return min(draws, max(_FEWEST, _NUMBERS // numbers))

    def rows(self, law: Distribution) -> int:
        """How many rows one draw from a law has; 1 if there is none to look at."""
        try:
            with torch.random.fork_rng(devices=[]):
                return self.fresh().draw(law).rows
        except Exception:
            return 1  # it is for the checks to say what is wrong

    @cached_property
    def fewest(self) -> int:
        """The fewest independent draws side by side that the estimator works with.

        A leave-one-out baseline says that one is too few.
        """
        with torch.random.fork_rng(devices=[]):
            return next(
                (n for n in range(1, _MOST_PARTICLES) if self._works_with(n)), 1
            )

    def _works_with(self, particles: int) -> bool:
        """Whether so many draws are not refused; any other error is for the checks."""
        try:
            for problem in self.canonical():
                self.estimation(problem, particles).once()
        except PgpluginsError:
            return False
        except Exception:
            return True
        return True

    def estimation(
        self, problem: Problem, particles: int, **options: Any
    ) -> Estimation:
        """Return a fresh estimation of a problem."""
        return Estimation(problem, self.fresh(), particles, **options)


class Sitting:
    """An estimator that has drawn for a problem, as a front would have it draw.

    Args:
        problem: An expectation.
        estimator: Draws here, and learns.
        particles: Independent draws.
        dtype: Of the parameters.
    """

    def __init__(
        self,
        problem: Problem,
        estimator: Estimator,
        particles: int = 3,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        """Draw, and evaluate the costs."""
        assert isinstance(problem.objective, Expectation)
        self.problem = problem
        self.objective = problem.objective
        self.estimator = estimator
        self.particles = particles
        self.leaves: Parameters = problem.leaves(dtype=dtype)
        self.base = self.objective.law(self.leaves)
        self.shape = torch.Size((particles, *self.base.batch_shape))
        self.law = self.base.expand(self.shape)
        self.draw = self.take()
        self.cost = self.evaluate(self.draw)

    def take(self) -> Draw:
        """Draw once more from the same law."""
        draw = self.estimator.draw(self.law)
        if not isinstance(draw, Draw):
            raise CheckFailed(
                f"draw returned a {type(draw).__name__} on {self.problem.name!r}; it "
                "must return a pgplugins.Draw"
            )
        want = (*self.shape, *self.base.event_shape)
        if draw.value.shape[1:] != want or draw.value.dim() == 0:
            raise CheckFailed(
                f"draw returned values of shape {tuple(draw.value.shape)} on "
                f"{self.problem.name!r}; they must be (rows, {_comma(want)})"
            )
        draw.particle_dim = -len(self.shape)
        return draw

    def evaluate(self, draw: Draw) -> torch.Tensor:
        """Return the costs of a draw, shape ``(rows, particles, *batch)``."""
        costs = self.objective.cost(draw.value.flatten(0, 1), self.leaves)
        return costs.reshape(draw.rows, *self.shape)

    def averaged(self, draw: Draw, cost: torch.Tensor) -> torch.Tensor:
        """Return ``sum_r weight_r cost_r``, shape ``(particles, *batch)``."""
        if draw.weight is None:
            return cost.mean(0)
        return (draw.weight * cost).sum(0)

    def gradient(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the gradient of a loss, flattened; the graph is kept."""
        if not loss.requires_grad:
            return torch.zeros(sum(v.numel() for v in self.leaves.values()))
        parts = torch.autograd.grad(
            loss.sum(),
            list(self.leaves.values()),
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        return torch.cat([part.reshape(-1) for part in parts])


class Opaque(Normal):
    """A Normal that does not tell its density."""

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Refuse."""
        raise NotImplementedError("this law has no density")


def _comma(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
