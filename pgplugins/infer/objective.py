"""What every objective over a Pyro program has: rules, bound estimators, structure."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Self

import pyro
from torch import Tensor

from pgplugins.core.estimator import Estimator
from pgplugins.core.numbers import flag, plate_nesting, positive_integer
from pgplugins.infer.binding import BoundEstimators
from pgplugins.infer.choice import EstimatorRules, Estimators
from pgplugins.infer.dependencies import Dependencies, check_dependencies
from pgplugins.infer.messenger import Draws, NestingUnknown
from pgplugins.infer.run import Run
from pgplugins.infer.static import EveryRun, FirstRun


class ProgramObjective:
    """An objective that binds one copy of an estimator to each site of a program."""

    num_particles: int
    vectorize_particles: bool
    max_plate_nesting: float

    def _set_up(
        self, estimators: Estimators, dependencies: str, *, static: bool
    ) -> None:
        """Check what all objectives are told, the three attributes above included.

        Raises:
            InputError: An argument has a value that cannot be used.
            UnknownEstimatorError: No estimator is registered under a name.
        """
        positive_integer(self.num_particles, "num_particles")
        plate_nesting(self.max_plate_nesting)
        flag(self.vectorize_particles, "vectorize_particles")
        check_dependencies(dependencies)
        flag(static, "static")
        self._structure: EveryRun | FirstRun = (FirstRun if static else EveryRun)(
            dependencies
        )
        self._rules = EstimatorRules(estimators)
        self._bound = BoundEstimators()

    @property
    def rules(self) -> EstimatorRules:
        """Which estimator a site gets."""
        return self._rules

    def with_estimators(self, estimators: Estimators) -> Self:
        """Return one with these settings, other estimators and no state yet."""
        return self.with_rules(EstimatorRules(estimators))

    def with_rules(self, rules: EstimatorRules) -> Self:
        """Return one with these settings, other rules and no state yet."""
        other = copy.copy(self)
        other._structure = copy.deepcopy(self._structure)
        other._rules = rules
        other._bound = BoundEstimators()
        return other

    def estimator_of(self, site: str) -> Estimator:
        """Return the copy of an estimator that holds the state of a site.

        Raises:
            InputError: No random site of that name has been met yet.
        """
        return self._bound.of(site)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all estimators, for a checkpoint."""
        return self._bound.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over a checkpoint, also for sites that are yet to be met."""
        self._bound.restore(state)

    def _with_rows_that_fit(self, once: Callable[[], Run]) -> Run:
        """Run a program; again with one row where it cannot take rows nobody asked for.

        Estimators that choose their rows cannot see beforehand whether a program can
        take several (it may stack the values of two sites).
        """
        try:
            return once()
        except NestingUnknown:
            raise
        except Exception:
            retreated = [e for e in self._bound.choosing_rows() if e.retreat()]
            if not retreated:
                raise
        try:
            return once()
        except Exception:
            for estimator in retreated:
                estimator.advance()
            raise

    @property
    def _side_by_side(self) -> bool:
        return self.vectorize_particles and self.num_particles > 1

    def _draws(
        self, policy: Dependencies, nesting: float, particle_dim: int | None
    ) -> Draws:
        """Return the handler for one run."""
        return Draws(self._rules, self._bound, policy, nesting, particle_dim)

    def _register_networks(self) -> None:
        """Let Pyro's optimizers find the parameters that estimators have themselves."""
        for site, estimator in self._bound.trained():
            # A second objective with the same site shares the store's network.
            pyro.module(f"pgplugins.{site}", estimator, update_module_params=True)
