"""How objectives over a model and a guide run the two, once or several times."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import pyro
from pyro.infer import ELBO as PyroELBO

from pgplugins.core.pooling import LOCAL, Pool
from pgplugins.distributed.session import Session
from pgplugins.infer.dependencies import Dependencies
from pgplugins.infer.messenger import NestingUnknown
from pgplugins.infer.objective import ProgramObjective
from pgplugins.infer.particles import SameSubsamples, Turn
from pgplugins.infer.program import run_pair, visit_pair
from pgplugins.infer.run import Run


class PairObjective(ProgramObjective, PyroELBO):
    """An objective that Pyro knows as an ELBO, over the runs of a model and a guide."""

    analytic_kl: bool

    _additive = True  # the loss is the mean of the particles' costs
    _checked: object = None  # the model whose sites have been looked at

    def runs(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Iterator[Run]:
        """Yield the runs whose costs, over ``num_particles``, add up to the loss.

        They are to be differentiated once.
        """
        return self._runs(model, guide, args, kwargs, LOCAL, first_order=True)

    def _estimate(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> AbstractContextManager[Session | None]:
        """Begin and end an estimate together with the other ranks, if there are any."""
        prime = partial(visit_pair, model, guide, args, kwargs)
        return self._together(prime, model, guide)

    def _runs(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        pool: Pool,
        *,
        first_order: bool,
    ) -> Iterator[Run]:
        """Run model and guide as often as it takes for all particles."""

        def run(turn: Turn) -> Run:
            with same_subsamples:
                try:
                    return self._run(model, guide, args, kwargs, turn, first_order)
                except NestingUnknown:
                    self._guess_nesting(model, guide, args, kwargs)
                    return self._run(model, guide, args, kwargs, turn, first_order)

        self._settle_nesting(model, guide, args, kwargs)
        same_subsamples = nullcontext() if self.chunk_size is None else SameSubsamples()
        for turn in self._turns(pool):
            yield run(turn)

    def _settle_nesting(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """Find out where the particles' plate has to lie, if there is one."""
        if self.vectorize_particles and math.isinf(self.max_plate_nesting):
            self._guess_nesting(model, guide, args, kwargs)

    def _guess_nesting(self, *programs_and_arguments: Any) -> None:
        inherited: Any = super()  # Pyro does not say its types
        inherited._guess_max_plate_nesting(*programs_and_arguments)

    def _run(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        turn: Turn,
        first_order: bool,
    ) -> Run:
        """Run model and guide once."""
        programs = model, guide
        particle_dim = None
        if turn.side_by_side is not None:
            particle_dim = -int(self.max_plate_nesting)
            model = _beside(model, turn.side_by_side, particle_dim)
            guide = _beside(guide, turn.side_by_side, particle_dim)

        def execute(policy: Dependencies) -> Run:
            return run_pair(
                model,
                guide,
                args,
                kwargs,
                self._draws(policy, self.max_plate_nesting, particle_dim, turn.pool),
                first_order=first_order,
                additive=self._additive,
                analytic_kl=self.analytic_kl,
                check_model=self._checked is not programs[0],
            )

        found = self._with_rows_that_fit(lambda: self._find(execute, *programs))
        self._checked = programs[0]
        return found._replace(counts=turn.pool.counts)

    def _get_trace(self, *args: Any) -> Any:
        raise NotImplementedError  # Pyro's own trace generator is not used.


def _beside(
    program: Callable[..., Any], particles: int, dim: int
) -> Callable[..., Any]:
    """Enclose a program in the plate of its particles."""
    # Pyro's own name for it; Pyro's own method knows one process only.
    plate = pyro.plate("num_particles_vectorized", particles, dim=dim)
    enclosed: Callable[..., Any] = plate(program)
    return enclosed
