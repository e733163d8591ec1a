"""What every objective over a Pyro program has: rules, bound estimators, structure."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Self

import pyro
from torch import Tensor

from pgplugins.core.derivatives import refuse_second
from pgplugins.core.estimator import Estimator
from pgplugins.core.learning import is_tracing
from pgplugins.core.numbers import flag, plate_nesting, positive_integer
from pgplugins.core.pooling import Pool
from pgplugins.distributed.collectives import Distributed, check_distributed
from pgplugins.distributed.seeds import seed_of, seeded
from pgplugins.distributed.session import Session, one_estimate
from pgplugins.errors import InputError
from pgplugins.infer.binding import BoundEstimators
from pgplugins.infer.choice import EstimatorRules, Estimators
from pgplugins.infer.dependencies import Dependencies, check_dependencies
from pgplugins.infer.messenger import Draws, NestingUnknown
from pgplugins.infer.noted import notes
from pgplugins.infer.particles import Turn, check_chunk_size, turns
from pgplugins.infer.ranks import Checks, CommonSubsamples, Primed, SharedGradients
from pgplugins.infer.run import Run
from pgplugins.infer.static import EveryRun, Execute, FirstRun, program_key


class ProgramObjective:
    """An objective that binds one copy of an estimator to each site of a program."""

    num_particles: int
    vectorize_particles: bool
    max_plate_nesting: float
    chunk_size: int | None

    def _set_up(
        self,
        estimators: Estimators,
        dependencies: str,
        *,
        static: bool,
        distributed: Distributed,
        chunk_size: int | None,
    ) -> None:
        """Check what all objectives are told, the three attributes above included.

        Raises:
            InputError: An argument has a value that cannot be used.
            UnknownEstimatorError: No estimator is registered under a name.
        """
        positive_integer(self.num_particles, "num_particles")
        check_distributed(distributed)
        plate_nesting(self.max_plate_nesting)
        flag(self.vectorize_particles, "vectorize_particles")
        check_chunk_size(
            chunk_size, self.num_particles, vectorized=self.vectorize_particles
        )
        check_dependencies(dependencies)
        flag(static, "static")
        self._structure: EveryRun | FirstRun = (FirstRun if static else EveryRun)(
            dependencies
        )
        self._rules = EstimatorRules(estimators)
        self._bound = BoundEstimators()
        self.distributed = distributed
        self.chunk_size = chunk_size
        self._checks = Checks()
        self._primed = Primed()

    @property
    def rules(self) -> EstimatorRules:
        """Which estimator a site gets."""
        return self._rules

    def with_estimators(self, estimators: Estimators) -> Self:
        """Return one with these settings, other estimators and no state yet.

        Args:
            estimators: As for :class:`pgplugins.ELBO`.

        Raises:
            InputTypeError: A key or a value is of a kind that cannot be used.
            UnknownEstimatorError: No estimator is registered under a name.

        Example:
            >>> import pyro, torch, pyro.distributions as dist, pgplugins as pg
            >>> p = torch.tensor(0.25, requires_grad=True)
            >>> def program():
            ...     a = pyro.sample("a", dist.Bernoulli(p))
            ...     pg.cost("loss", 4 * a)
            >>> plain = pg.ExpectedCost(estimators="score_function", num_particles=8)
            >>> torch.autograd.grad(plain.with_estimators("enumerate")(program), p)
            (tensor(4.),)
        """
        return self.with_rules(EstimatorRules(estimators))

    def with_rules(self, rules: EstimatorRules) -> Self:
        """Return one with these settings, other rules and no state yet."""
        other = copy.copy(self)
        other._structure = copy.deepcopy(self._structure)
        other._rules = rules
        other._bound = BoundEstimators()
        other._checks = Checks()
        return other

    def estimator_of(self, site: str) -> Estimator:
        """Return the copy of an estimator that holds the state of a site.

        Args:
            site: The site's name in the program.

        Raises:
            InputError: No random site of that name has been met yet.

        Example:
            >>> import pyro, torch, pyro.distributions as dist, pgplugins as pg
            >>> def program():
            ...     a = pyro.sample("a", dist.Normal(torch.zeros(()), 1.0))
            ...     b = pyro.sample("b", dist.Bernoulli(a.sigmoid()))
            ...     pg.cost("loss", a * b)
            >>> objective = pg.ExpectedCost(estimators={"b": "enumerate"})
            >>> _ = objective(program)
            >>> objective.estimator_of("a").name, objective.estimator_of("b").name
            ('reparameterized', 'enumerate')
        """
        return self._bound.of(site)

    def estimators_met(self) -> dict[str, Estimator]:
        """Return the estimators of all random sites met so far, by site."""
        return dict(self._bound.sites())

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all estimators, for a checkpoint.

        Example:
            >>> import pyro, torch, pyro.distributions as dist, pgplugins as pg
            >>> def program():
            ...     a = pyro.sample("a", dist.Bernoulli(torch.tensor(0.5)))
            ...     pg.cost("loss", 0 * a + 7)
            >>> moving = pg.estimator("score_function", baseline="moving_average")
            >>> objective = pg.ExpectedCost(estimators=moving)
            >>> _ = objective(program)
            >>> objective.state_dict()["site:a.baseline.total"]  # a tenth of 7, so far
            tensor(0.7000)
        """
        return self._bound.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over a checkpoint, also for sites that are yet to be met.

        Args:
            state: What :meth:`state_dict` returned.

        Example:
            >>> import pyro, torch, pyro.distributions as dist, pgplugins as pg
            >>> def program():
            ...     a = pyro.sample("a", dist.Bernoulli(torch.tensor(0.5)))
            ...     pg.cost("loss", 0 * a + 7)
            >>> moving = pg.estimator("score_function", baseline="moving_average")
            >>> objective = pg.ExpectedCost(estimators=moving)
            >>> _ = objective(program)
            >>> resumed = pg.ExpectedCost(estimators=moving)
            >>> resumed.load_state_dict(objective.state_dict())
            >>> _ = resumed(program)
            >>> resumed.state_dict()["site:a.baseline.weight"]  # two calls: 1 - 0.9^2
            tensor(0.1900)
        """
        self._bound.restore(state)

    def _find(self, execute: Execute, *programs: Callable[..., Any]) -> Run:
        """Run a program and find which costs lie downstream of which sites."""
        wanted = notes()
        if wanted is None:
            return self._structure.run(execute, *programs)
        return wanted.run(self._structure, execute, *programs)

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
            if is_tracing():
                raise  # nothing is chosen by what a trace meets
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

    def _turns(self, pool: Pool) -> list[Turn]:
        """Return the runs that the particles take."""
        return turns(
            self.num_particles,
            pool,
            vectorized=self.vectorize_particles,
            chunk_size=self.chunk_size,
        )

    def _draws(
        self,
        policy: Dependencies,
        nesting: float,
        particle_dim: int | None,
        pool: Pool,
    ) -> Draws:
        """Return the handler for one run."""
        return Draws(self._rules, self._bound, policy, nesting, particle_dim, pool)

    def _together(
        self, prime: Callable[[], None], *programs: Callable[..., Any]
    ) -> AbstractContextManager[Session | None]:
        """Make one estimate with all ranks; ``None`` stands for a single process.

        Args:
            prime: Runs the programs once and leaves no trace: what they make at random
                on their first run, such as parameters, has to be alike on all ranks.
            programs: What is to run.

        Raises:
            InputError: There are more ranks than particles.
            DistributedError: The ranks do not go together.
        """
        if self.distributed is False:
            return nullcontext()
        return self._over_ranks(prime, *programs)

    @contextmanager
    def _over_ranks(
        self, prime: Callable[[], None], *programs: Callable[..., Any]
    ) -> Iterator[Session | None]:
        with one_estimate(self.distributed, f"pg.{type(self).__name__}") as session:
            if session is None:
                yield None
                return
            pool = session.pool
            if self.num_particles < pool.collectives.size:
                raise InputError(
                    f"num_particles={self.num_particles} cannot be divided over "
                    f"{pool.collectives.size} ranks: it counts the particles of all "
                    "ranks together. Write as many as there are ranks, or more."
                )
            with seeded(session.seed):
                self._primed.once(program_key(*programs), prime)
            subsamples = CommonSubsamples(session.seed)
            with (
                seeded(seed_of(session.seed, 1 + session.rank)),
                subsamples if self.vectorize_particles else nullcontext(),
            ):
                yield session
            learning = {
                s: e for s, e in self._bound.sites() if any(True for _ in e.buffers())
            }
            self._checks.look("Estimator of site", learning, pool)

    def _gradients(self, session: Session | None) -> AbstractContextManager[object]:
        """Add up over ranks the gradients that come to parameters meanwhile."""
        if session is None:
            return nullcontext()
        return SharedGradients(session.pool, self._checks)

    def _refuse_second(self, loss: Tensor) -> None:
        """Have second derivatives of a loss refused where they would be wrong."""
        if self.chunk_size is None:  # those have none, and say so themselves
            met = self._bound.sites()
            refuse_second(loss, ((f" at site {site!r}", e) for site, e in met))

    def _register_networks(self) -> None:
        """Let Pyro's optimizers find the parameters that estimators have themselves."""
        for site, estimator in self._bound.trained():
            # A second objective with the same site shares the store's network.
            pyro.module(f"pgplugins.{site}", estimator, update_module_params=True)
