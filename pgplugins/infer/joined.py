"""The loss of a bound that joins its particles, all at once or chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from pyro.infer.util import is_validation_enabled
from torch import Tensor

from pgplugins.core.algebra import zero_valued
from pgplugins.core.credit import Credit
from pgplugins.core.finite import require_finite, require_zero
from pgplugins.core.learning import teach
from pgplugins.core.pooling import Pool
from pgplugins.core.rerun import Generators
from pgplugins.core.terms import CostTerm, Site
from pgplugins.errors import EstimatorError, ProgramError
from pgplugins.infer.joining import Particles, refuse_weight_zero, require_joinable
from pgplugins.infer.run import Run
from pgplugins.objectives.renyi import renyi_bound

_ROUNDING = 1e-4  # kernels that add in another order the second time


@dataclass(frozen=True)
class Joining:
    """Makes one loss of the particles' weights, and tells each what it counts for.

    Args:
        alpha: The order of the bound.
        plate: The name of the plate whose elements have bounds of their own.
        dim: The dimension of the particles' plate, if they lie side by side.
        share: How many of the particles are this process's.
        pool: The processes that share the estimate.
        register_networks: Called when all estimators have been used.
        first_order: The loss will be differentiated once at most.
        corrected: Correct the gradient; else the value is all that is wanted.
    """

    alpha: float
    plate: str | None
    dim: int | None
    share: int
    pool: Pool
    register_networks: Callable[[], None]
    first_order: bool
    corrected: bool

    def at_once(self, runs: Sequence[Run]) -> Tensor:
        """Return the loss of all particles, whose runs are all held."""
        for run in runs:
            require_joinable(run.sites)
        pool, share, side_by_side = self.pool, self.share, self.dim is not None
        particles = self._particles(share if side_by_side else None)
        for run in runs:
            particles.require_plate([*run.sites, *run.costs])
        # Runs that do not count come last, and are not joined.
        costs = torch.cat([particles.per_particle(run.costs) for run in runs])
        _require_weights(costs, [cost for run in runs for cost in run.costs])
        before, after = pool.around(costs[:share], "the particles' costs")
        bound = renyi_bound(torch.cat([before, costs[:share], after]), self.alpha)
        first = len(before)
        loss = pool.portion((particles.scale * bound.loss).sum())
        if not self.corrected:
            return loss
        credits = [
            particles.credit(bound, slice(first, first + share))
            if side_by_side
            else particles.credit(bound, first + min(index, share - 1))
            for index in range(len(runs))
        ]
        for run, credit in zip(runs, credits, strict=True):
            for term in self._terms(run.sites, particles, credit):
                loss = loss + (term.sum() if run.counts else 0 * term.sum())
        # The signal has seen all particles: none may learn before all are told.
        for run, credit in zip(runs, credits, strict=True):
            for site in reversed(run.sites):
                teach(site.estimator, site.draw, _signal(site, credit))
        self.register_networks()
        return loss

    def in_chunks(
        self, runs: Callable[[], Iterator[Run]], sizes: Sequence[int | None]
    ) -> Iterator[Tensor]:
        """Yield the chunks' shares of the loss, with one chunk's graph at a time.

        Args:
            runs: Runs all chunks.
            sizes: How many particles each of them has.
        """
        pool = self.pool
        starts: list[Generators] = []
        found: list[Tensor] = []
        with torch.no_grad():
            upcoming = runs()
            for size in sizes:
                starts.append(Generators.now())
                run = next(upcoming)
                particles = self._particles(size)
                particles.require_plate([*run.sites, *run.costs])
                found.append(particles.per_particle(run.costs))
                _require_weights(found[-1], run.costs)
                del run
        own = torch.cat(found)
        before, after = pool.around(own, "the particles' costs")
        everyones = torch.cat([before, own, after])
        if not self.corrected:
            bound = renyi_bound(everyones, self.alpha)
            yield pool.portion((particles.scale * bound.loss).sum())
            return
        # Corrections draw what nobody has drawn yet.
        unused = Generators.now()
        end = len(before)
        upcoming = runs()
        for size, start, known in zip(sizes, starts, found, strict=True):
            start.restore()
            run = next(upcoming)
            require_joinable(run.sites)
            _refuse_learning(run.sites)
            particles = self._particles(size)
            costs = particles.per_particle(run.costs)
            _require_same(costs, known)
            begin, end = end, end + len(known)
            joined = torch.cat([everyones[:begin], costs, everyones[end:]])
            bound = renyi_bound(joined, self.alpha)
            whole = pool.portion((particles.scale * bound.loss).sum())
            loss = whole.detach() / len(sizes) + zero_valued(whole)
            unused.restore()
            credit = particles.credit(bound, slice(begin, end))
            for term in self._terms(run.sites, particles, credit):
                loss = loss + term.sum()
                del term
            unused = Generators.now()
            self.register_networks()
            # Nothing of a run is kept while the next one runs.
            del run, costs, joined, bound, whole, credit, particles
            yield loss
            del loss

    def _terms(
        self, sites: Sequence[Site], particles: Particles, credit: Credit
    ) -> Iterator[Tensor]:
        """Correct the gradient at every site; its cost is the loss that all share."""
        for site in reversed(sites):
            estimator, draw = site.estimator, site.draw
            particles.own_plate(site)  # one that is masked out has shown no cost
            draw.first_order = self.first_order
            draw.credit = credit.weighing(particles.own_share(site))
            term = estimator.gradient_term(draw, _signal(site, credit))
            if term is not None:
                if is_validation_enabled():
                    require_zero(term, estimator)
                yield term

    def _particles(self, side_by_side: int | None) -> Particles:
        dim = None if side_by_side is None else self.dim
        return Particles(dim, side_by_side or 1, self.plate)


def _require_weights(costs: Tensor, found: Sequence[CostTerm]) -> None:
    """Raise unless all particles have a weight (with validation on).

    Raises:
        NotFiniteError: Naming the site whose cost is not finite.
    """
    if not is_validation_enabled() or costs.isfinite().all():
        return
    refuse_weight_zero(costs, found)
    for cost in found:
        require_finite(cost.value, f"The cost at site {cost.name!r}")
    require_finite(costs, "The cost of a particle")


def _require_same(costs: Tensor, known: Tensor) -> None:
    """Raise unless a chunk has the weights that it had before.

    Raises:
        ProgramError: It has others.
    """
    if costs.shape == known.shape and torch.allclose(
        costs.detach(), known, _ROUNDING, _ROUNDING, equal_nan=True
    ):
        return
    raise ProgramError(
        "With chunk_size model and guide run twice on the same random numbers, and the "
        "second time they gave other log-densities. Something besides torch's, NumPy's "
        "and Python's generators changes from run to run (a counter, an iterator of "
        "batches, an environment, statistics of batches). Leave chunk_size out, or "
        "pass what changes as an argument."
    )


def _refuse_learning(sites: Sequence[Site]) -> None:
    """Raise for estimators with a state.

    Raises:
        EstimatorError: Naming the first.
    """
    for site in sites:
        if any(True for _ in site.estimator.buffers()):
            raise EstimatorError(
                f"Estimator {site.estimator.name!r} at site {site.name!r} learns from "
                "its draws. On a bound that joins its particles it may do so only when "
                "all have been told what they count for, when chunks (chunk_size) are "
                'gone. Write "score_function" with its default baseline, '
                '"reparameterized" or "doubly_reparameterized", or leave chunk_size '
                "out."
            )


def _signal(site: Site, credit: Credit) -> Tensor:
    return credit.signal.expand((1, *site.draw.dist.batch_shape))
