"""Bounds that join their particles: importance-weighted, and Renyi's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from pyro.infer.util import is_validation_enabled
from torch import Tensor

from pgplugins.core.algebra import zero_valued
from pgplugins.core.credit import Credit
from pgplugins.core.finite import require_finite, require_zero
from pgplugins.core.fold import CostTerm, Site
from pgplugins.core.learning import is_tracing, teach
from pgplugins.core.numbers import within
from pgplugins.core.pooling import Pool
from pgplugins.core.rerun import Generators
from pgplugins.distributed.collectives import Distributed
from pgplugins.errors import CompileError, EstimatorError, InputError, ProgramError
from pgplugins.infer.choice import Estimators
from pgplugins.infer.elbo import ELBO
from pgplugins.infer.joining import Particles, refuse_weight_zero, require_joinable
from pgplugins.infer.program import visit_pair
from pgplugins.infer.run import Run
from pgplugins.infer.static import program_key
from pgplugins.objectives.renyi import renyi_bound

_ROUNDING = 1e-4  # kernels that add in another order the second time


class RenyiELBO(ELBO):
    """A drop-in for ``pyro.infer.RenyiELBO``, with an estimator per site.

    ``log(mean_k w_k^(1-alpha)) / (1 - alpha)`` with ``w_k = p(x, z_k) / q(z_k)``
    estimates a bound on the log-evidence (Li and Turner 2016, eq. 14): the
    importance-weighted bound for ``alpha`` 0, the ELBO in the limit of 1. The mean is
    inside the logarithm, so that every cost concerns every site, and the direct
    gradient of log q stays in.

    With ``"score_function"`` and its default baseline this is VIMCO (Mnih and Rezende
    2016), with ``"doubly_reparameterized"`` it is DReG (Tucker et al. 2019); sites of
    either kind may be mixed, but what depends on a site of the latter kind has to be
    ``"reparameterized"``. Estimators with several rows are refused: their rows are not
    particles that the bound could join.

    A particle is a draw of the whole model, so that there is one weight per particle
    whatever the plates. With ``plate="data"`` there is a bound for every element of
    that plate, which is tighter where all random sites are inside it.

    The guide has to draw where the model has a density. If a particle can have weight
    zero, so can all of them at once, because they are independent: then the bound is
    minus infinity, however many particles there are, and has no gradient.

    Args:
        alpha: The order, any number but 1.
        num_particles: Number of independent samples that are joined.
        max_plate_nesting: As in :class:`~pgplugins.ELBO`.
        max_iarange_nesting: As in :class:`~pgplugins.ELBO`.
        vectorize_particles: As in :class:`~pgplugins.ELBO`.
        strict_enumeration_warning: As in :class:`~pgplugins.ELBO`.
        estimators: As in :class:`~pgplugins.ELBO`.
        plate: The name of the plate whose elements have bounds of their own.
        chunk_size: At most how many particles run side by side. All weights have to be
            known before a particle is told what it counts for, so model and guide run
            twice on the same random numbers: without a graph for the weights, and chunk
            by chunk for the gradient. Bound, baselines and gradient are those of all
            particles at once.
        distributed: As in :class:`~pgplugins.ELBO`; the mean weight is over the
            particles of all ranks, which have to be given the same data.

    Raises:
        InputError: An argument has a value that cannot be used.
        UnknownEstimatorError: No estimator is registered under a name.

    Its methods raise what those of :class:`~pgplugins.ELBO` raise, and besides:

    - :class:`~pgplugins.errors.NotFiniteError` for a particle of weight zero (with
      validation on);
    - :class:`~pgplugins.errors.ProgramError` if ``plate`` is no plate of the program,
      or a site lies outside of it; with ``chunk_size`` if the program does something
      else when it runs again on the same random numbers;
    - :class:`~pgplugins.errors.EstimatorError`, with ``chunk_size``, for estimators
      that learn, which must not do so before all particles have been told.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model():
        ...     z = pyro.sample("z", dist.Bernoulli(0.3))
        ...     pyro.sample("x", dist.Normal(2 * z, 1.0), obs=torch.tensor(1.2))
        >>> def guide():
        ...     logit = pyro.param("logit", torch.tensor(2.0))
        ...     pyro.sample("z", dist.Bernoulli(logits=logit))
        >>> pyro.set_rng_seed(1)
        >>> pyro.clear_param_store()
        >>> bound = RenyiELBO(alpha=0.5, num_particles=4, vectorize_particles=True)
        >>> svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), bound)
        >>> losses = [svi.step() for _ in range(300)]
        >>> round(torch.sigmoid(pyro.param("logit")).item(), 1)
        0.4
    """

    _additive = False

    def __init__(
        self,
        alpha: float = 0.0,
        num_particles: int = 2,
        max_plate_nesting: float = math.inf,
        max_iarange_nesting: float | None = None,
        vectorize_particles: bool = False,
        strict_enumeration_warning: bool = True,
        *,
        estimators: Estimators = None,
        plate: str | None = None,
        distributed: Distributed = False,
        chunk_size: int | None = None,
    ) -> None:
        """Check the arguments; nothing runs before the first loss."""
        super().__init__(
            num_particles=num_particles,
            max_plate_nesting=max_plate_nesting,
            max_iarange_nesting=max_iarange_nesting,
            vectorize_particles=vectorize_particles,
            strict_enumeration_warning=strict_enumeration_warning,
            estimators=estimators,
            dependencies="plates",
            distributed=distributed,
            chunk_size=chunk_size,
        )
        within(alpha, "alpha", -math.inf)
        if alpha == 1:
            raise InputError("alpha=1 is the ELBO itself: write pg.ELBO.")
        if math.isinf(alpha):
            raise InputError(f"alpha={alpha!r}: write a finite number.")
        if plate is not None and not isinstance(plate, str):
            raise InputError(f"plate={plate!r}: write the name of a plate.")
        if plate is not None and num_particles > 1 and not vectorize_particles:
            raise InputError(
                f"plate={plate!r} joins particles element by element, but one after "
                "another they may see other elements. Write vectorize_particles=True."
            )
        self.alpha = float(alpha)
        self.plate = plate

    def _parts(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        pool: Pool,
        *,
        first_order: bool = True,
        corrected: bool = True,
    ) -> Iterator[Tensor]:
        runs = partial(
            self._runs, model, guide, args, kwargs, pool, first_order=first_order
        )
        sizes = [turn.side_by_side for turn in self._turns(pool)]
        if self.chunk_size is None or len(sizes) == 1:
            yield self._at_once(
                list(runs()), pool, first_order=first_order, corrected=corrected
            )
            return
        if is_tracing():
            raise CompileError(
                "A bound that joins particles in chunks (chunk_size=...) runs twice on "
                "the same random numbers, which a compiled step cannot go back to. "
                "Leave chunk_size or pg.compile out."
            )
        # What is made on the first run must not come between the two.
        prime = partial(visit_pair, model, guide, args, kwargs)
        self._primed.once(program_key(model, guide), prime)
        self._settle_nesting(model, guide, args, kwargs)
        yield from self._in_chunks(
            runs, sizes, pool, first_order=first_order, corrected=corrected
        )

    def _particles(self, side_by_side: int | None) -> Particles:
        if side_by_side is None:
            return Particles(None, 1, self.plate)
        return Particles(-int(self.max_plate_nesting), side_by_side, self.plate)

    def _at_once(
        self, runs: Sequence[Run], pool: Pool, *, first_order: bool, corrected: bool
    ) -> Tensor:
        """Return the loss of all particles, whose runs are all held."""
        for run in runs:
            require_joinable(run.sites)
        share = pool.share(self.num_particles)
        particles = self._particles(share if self._side_by_side else None)
        for run in runs:
            particles.require_plate([*run.sites, *run.costs])
        # Runs that do not count come last, and are not joined.
        costs = torch.cat([particles.per_particle(run.costs) for run in runs])
        _require_weights(costs, [cost for run in runs for cost in run.costs])
        before, after = pool.around(costs[:share], "the particles' costs")
        bound = renyi_bound(torch.cat([before, costs[:share], after]), self.alpha)
        first = len(before)
        loss = pool.portion((particles.scale * bound.loss).sum())
        if not corrected:
            return loss
        credits = [
            particles.credit(bound, slice(first, first + share))
            if self._side_by_side
            else particles.credit(bound, first + min(index, share - 1))
            for index in range(len(runs))
        ]
        for run, credit in zip(runs, credits, strict=True):
            for term in _terms(run.sites, particles, credit, first_order=first_order):
                loss = loss + (term.sum() if run.counts else 0 * term.sum())
        # The signal has seen all particles: none may learn before all are told.
        for run, credit in zip(runs, credits, strict=True):
            for site in reversed(run.sites):
                teach(site.estimator, site.draw, _signal(site, credit))
        self._register_networks()
        return loss

    def _in_chunks(
        self,
        runs: Callable[[], Iterator[Run]],
        sizes: Sequence[int | None],
        pool: Pool,
        *,
        first_order: bool,
        corrected: bool,
    ) -> Iterator[Tensor]:
        """Yield the chunks' shares of the loss, with one chunk's graph at a time.

        Args:
            runs: Runs all chunks.
            sizes: How many particles each of them has.
            pool: The ranks.
            first_order: As for :meth:`_parts`.
            corrected: As for :meth:`_parts`.
        """
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
        if not corrected:
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
            for term in _terms(run.sites, particles, credit, first_order=first_order):
                loss = loss + term.sum()
                del term
            unused = Generators.now()
            self._register_networks()
            # Nothing of a run is kept while the next one runs.
            del run, costs, joined, bound, whole, credit, particles
            yield loss
            del loss


class IWELBO(RenyiELBO):
    """The importance-weighted bound: :class:`RenyiELBO` with ``alpha`` 0.

    ``log mean_k p(x, z_k) / q(z_k)``, tighter than the ELBO and tight in the limit of
    many particles (Burda et al. 2016).

    Args:
        num_particles: Number of independent samples that are joined.
        max_plate_nesting: As in :class:`~pgplugins.ELBO`.
        max_iarange_nesting: As in :class:`~pgplugins.ELBO`.
        vectorize_particles: As in :class:`~pgplugins.ELBO`.
        strict_enumeration_warning: As in :class:`~pgplugins.ELBO`.
        estimators: As in :class:`~pgplugins.ELBO`.
        plate: As in :class:`RenyiELBO`.
        chunk_size: As in :class:`RenyiELBO`.
        distributed: As in :class:`RenyiELBO`.

    Raises:
        InputError: An argument has a value that cannot be used.
        UnknownEstimatorError: No estimator is registered under a name.

    Example:
        >>> IWELBO(num_particles=16, vectorize_particles=True).alpha
        0.0
    """

    def __init__(
        self,
        num_particles: int = 2,
        max_plate_nesting: float = math.inf,
        max_iarange_nesting: float | None = None,
        vectorize_particles: bool = False,
        strict_enumeration_warning: bool = True,
        *,
        estimators: Estimators = None,
        plate: str | None = None,
        distributed: Distributed = False,
        chunk_size: int | None = None,
    ) -> None:
        """Check the arguments; nothing runs before the first loss."""
        super().__init__(
            0.0,
            num_particles,
            max_plate_nesting,
            max_iarange_nesting,
            vectorize_particles,
            strict_enumeration_warning,
            estimators=estimators,
            plate=plate,
            distributed=distributed,
            chunk_size=chunk_size,
        )


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


def _terms(
    sites: Sequence[Site], particles: Particles, credit: Credit, *, first_order: bool
) -> Iterator[Tensor]:
    """Correct the gradient at every site; its cost is the loss that all share."""
    for site in reversed(sites):
        estimator, draw = site.estimator, site.draw
        particles.own_plate(site)  # one that is masked out has shown no cost
        draw.first_order = first_order
        draw.credit = credit.weighing(particles.own_share(site))
        term = estimator.gradient_term(draw, _signal(site, credit))
        if term is not None:
            if is_validation_enabled():
                require_zero(term, estimator)
            yield term


def _signal(site: Site, credit: Credit) -> Tensor:
    return credit.signal.expand((1, *site.draw.dist.batch_shape))
