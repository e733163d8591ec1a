"""The expected total cost of any Pyro program."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import pyro
from pyro.infer.util import is_validation_enabled
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pgplugins.core.flatness import guard_flat_cost
from pgplugins.core.fold import fold
from pgplugins.core.pooling import LOCAL, Pool
from pgplugins.core.taken import take_gradients
from pgplugins.core.terms import CostTerm
from pgplugins.distributed.collectives import Distributed
from pgplugins.distributed.session import pool_of
from pgplugins.errors import InputTypeError, ProgramError
from pgplugins.infer.choice import Estimators
from pgplugins.infer.dependencies import Dependencies
from pgplugins.infer.messenger import NestingUnknown
from pgplugins.infer.objective import ProgramObjective
from pgplugins.infer.particles import SameSubsamples, Turn
from pgplugins.infer.run import Run
from pgplugins.infer.total import add_up, check_costs, total_cost


class ExpectedCost(ProgramObjective):
    """Estimates the expected sum of a program's :func:`pgplugins.cost` terms.

    Rewards, losses, constraints: any Pyro program, any number of costs. A score site
    sees only the costs that depend on it (reward-to-go is found, not asked for).

    Args:
        estimators: As for :class:`pgplugins.ELBO`.
        num_particles: Number of independent runs that are averaged.
        vectorize_particles: Run them side by side in an outermost plate. ``False`` runs
            the program once per particle, as programs with Python control flow need.
        chunk_size: At most how many run side by side, as for :class:`pgplugins.ELBO`.
            The gradient is then taken chunk by chunk when the program is run, for all
            leaf tensors that the cost depends on; ``backward()`` hands it out, once.
        max_plate_nesting: Largest number of nested plates; guessed by running the
            program once if it is needed and not given.
        dependencies: As for :class:`pgplugins.ELBO`; ``"order"`` for rollouts through
            an environment that is not torch.
        static: As for :class:`pgplugins.ELBO`.
        distributed: Divide the particles over ranks, as for :class:`pgplugins.ELBO`.
            Every rank is told the cost of all; the gradients are to be averaged over
            ranks, by :func:`pgplugins.distributed.reduce_gradients` or by
            ``DistributedDataParallel``.

    Raises:
        InputError: An argument has a value that cannot be used.
        InputTypeError: ``distributed`` is of a kind that cannot be used.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> import pgplugins as pg
        >>> logit = torch.tensor(0.0, requires_grad=True)
        >>> def program():
        ...     a = pyro.sample("a", dist.Bernoulli(logits=logit))
        ...     pg.cost("reward", -3 * a)
        >>> loss = ExpectedCost(estimators="enumerate")(program)
        >>> loss.backward()
        >>> loss.item(), logit.grad.item()
        (-1.5, -0.75)
    """

    def __init__(
        self,
        *,
        estimators: Estimators = None,
        num_particles: int = 1,
        vectorize_particles: bool = True,
        max_plate_nesting: float = math.inf,
        dependencies: str = "provenance",
        static: bool = False,
        distributed: Distributed = False,
        chunk_size: int | None = None,
    ) -> None:
        """Check the arguments; nothing runs before the first call."""
        self.num_particles = num_particles
        self.vectorize_particles = vectorize_particles
        self.max_plate_nesting = max_plate_nesting
        self._set_up(
            estimators,
            dependencies,
            static=static,
            distributed=distributed,
            chunk_size=chunk_size,
        )

    def __call__(
        self, program: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Run the program on ``args`` and estimate its expected total cost.

        Args:
            program: A Pyro program that states its costs.
            args: What it is called with.
            kwargs: Likewise.

        Returns:
            A scalar; ``backward()`` estimates its gradient.

        Raises:
            InputTypeError: The program is not callable.
            EstimatorError: An estimator does not fit its site.
            ProgramError: The program has no cost, observes a value, or does something
                else that no objective can follow.
            ShapeError: A cost or a site has batch dimensions that are no plates.
            NotFiniteError: A cost is nan or infinite (with validation on).
            FlatCostError: All sites rely on the path, and the costs of particles side
                by side vary without a gradient.
            DistributedError: The ranks do not go together.
            EstimatorError: From ``backward`` with ``create_graph=True``, if an
                estimator has first derivatives only.
        """
        if not callable(program):
            raise InputTypeError(
                "pg.ExpectedCost()(program) takes a Pyro program, a function that "
                f"states its costs with pg.cost; found a {type(program).__name__}."
            )

        def prime() -> None:
            with _PlateSurvey():
                program(*args, **kwargs)

        with self._together(prime, program) as session:
            pool = pool_of(session)
            losses = self._losses(program, args, kwargs, pool)
            chunked = self.chunk_size is not None
            total = take_gradients(losses) if chunked else add_up(losses)
            loss = pool.estimate(total, "the expected cost")
        self._refuse_second(loss)
        return loss

    def runs(
        self, program: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Iterator[Run]:
        """Yield the runs whose costs, over ``num_particles``, add up to the loss."""
        return (part.run for part in self._each(program, args, kwargs, LOCAL))

    def _each(
        self,
        program: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        pool: Pool,
    ) -> Iterator[_Part]:
        """Run the program as often as it takes for all particles."""

        def run(turn: Turn) -> _Part:
            with same_subsamples:
                try:
                    return self._run(program, args, kwargs, turn)
                except NestingUnknown:
                    self._guess_max_plate_nesting(program, args, kwargs)
                    return self._run(program, args, kwargs, turn)

        if self._side_by_side and math.isinf(self.max_plate_nesting):
            self._guess_max_plate_nesting(program, args, kwargs)
        same_subsamples = nullcontext() if self.chunk_size is None else SameSubsamples()
        for turn in self._turns(pool):
            yield run(turn)

    def _run(
        self,
        program: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        turn: Turn,
    ) -> _Part:
        """Run the program once."""
        original = program
        nesting, particle_dim = self.max_plate_nesting, None
        if turn.side_by_side is not None:
            nesting += 1
            particle_dim = -int(nesting)
            plate = pyro.plate("num_particles", turn.side_by_side, dim=particle_dim)
            program = plate(program)
        paths: dict[str, Tensor] = {}

        def execute(policy: Dependencies) -> Run:
            draws = self._draws(policy, nesting, particle_dim, turn.pool)
            paths.clear()  # of a run that has failed
            with draws, _NoObservations():
                program(*args, **kwargs)
            draws.finish()
            paths.update(draws.paths)
            return Run(list(draws.sites.values()), draws.costs)

        run = self._with_rows_that_fit(lambda: self._find(execute, original))
        run = run._replace(counts=turn.pool.counts)
        if not run.costs:
            raise ProgramError(
                "The program has no cost. Write pg.cost(name, value) for each loss, or "
                "for minus each reward."
            )
        return _Part(run, paths, particle_dim)

    def _losses(
        self,
        program: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        pool: Pool,
    ) -> Iterator[Tensor]:
        for part in self._each(program, args, kwargs, pool):
            loss = self._loss(part)
            # Nothing of a run is kept while the next one runs.
            del part
            yield loss
            del loss

    def _loss(self, part: _Part) -> Tensor:
        """Return a part's share of the mean cost."""
        run, paths, particle_dim = part
        once = self.chunk_size is not None
        costs = fold(run.sites, run.costs, first_order=once)
        total = total_cost(costs) / self.num_particles
        # A site that is held needs no gradient of the cost, and may be what varies.
        relying = all(
            "differentiable_cost" in s.traits.needs
            and s.name in paths
            and s.row_dim is None
            for s in run.sites
        )
        if paths and relying and particle_dim is not None:
            names = {s.name: s.estimator.name for s in run.sites}
            _guard(paths, names, run.costs, particle_dim, total)
        if is_validation_enabled():
            check_costs(total, run.costs)
        self._register_networks()
        return total if run.counts else 0 * total

    def _guess_max_plate_nesting(
        self, program: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        survey = _PlateSurvey()
        with survey:
            program(*args, **kwargs)
        self.max_plate_nesting = survey.nesting


class _Part(NamedTuple):
    """One run, its pathwise draws, and the dimension of its particles, if any."""

    run: Run
    paths: dict[str, Tensor]
    particle_dim: int | None


def _guard(
    paths: dict[str, Tensor],
    names: dict[str, str],
    costs: list[CostTerm],
    particle_dim: int,
    loss: Tensor,
) -> None:
    """Refuse costs that vary between particles without a gradient for any site."""
    per_particle: Tensor | None = None
    for cost in costs:
        others = [d for d in range(-cost.value.dim(), 0) if d != particle_dim]
        part = cost.value.sum(others) if others else cost.value
        per_particle = part if per_particle is None else per_particle + part
    assert per_particle is not None
    sites = ", ".join(map(repr, paths))
    used = ", ".join(sorted({names.get(site, "reparameterized") for site in paths}))
    guard_flat_cost(list(paths.values()), per_particle, f"site {sites}", used, loss)


class _NoObservations(Messenger):
    """Refuses observations, which would be ignored."""

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] and not (msg["infer"] or {}).get("_deterministic"):
            raise ProgramError(
                f"Site {msg['name']!r} is observed (obs=..., or pyro.factor), which an "
                "expected cost does not condition on. Write pg.cost(name, -log_prob) "
                "to make it a cost, or use pg.ELBO with a guide."
            )


class _PlateSurvey(Messenger):
    """Runs a program without any estimator to see how deep its plates nest."""

    def __init__(self) -> None:
        super().__init__()
        self.nesting = 0

    def _note(self, msg: Any) -> None:
        for frame in msg["cond_indep_stack"]:
            if frame.vectorized:
                self.nesting = max(self.nesting, -frame.dim)

    def _pyro_post_sample(self, msg: Any) -> None:
        self._note(msg)

    def _pyro_pgplugins_cost(self, msg: Any) -> None:
        msg["done"] = msg["kept"] = True
        self._note(msg)

    def _pyro_pgplugins_truncation(self, msg: Any) -> None:
        # Without estimators every draw has a path; what is cut here is no one's.
        msg["stop"] = True
