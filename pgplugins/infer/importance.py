"""Bounds that join their particles: importance-weighted, and Renyi's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import Tensor

from pgplugins.core.learning import is_tracing
from pgplugins.core.numbers import within
from pgplugins.core.pooling import Pool
from pgplugins.distributed.collectives import Distributed
from pgplugins.errors import CompileError, InputError
from pgplugins.infer.choice import Estimators
from pgplugins.infer.elbo import ELBO
from pgplugins.infer.joined import Joining
from pgplugins.infer.program import visit_pair
from pgplugins.infer.static import program_key


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
        >>> import torch, pyro, pyro.distributions as dist
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
            found = list(runs())  # which may find out where the particles lie
            joining = self._joined(pool, first_order=first_order, corrected=corrected)
            yield joining.at_once(found)
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
        joining = self._joined(pool, first_order=first_order, corrected=corrected)
        yield from joining.in_chunks(runs, sizes)

    def _joined(self, pool: Pool, *, first_order: bool, corrected: bool) -> Joining:
        dim = -int(self.max_plate_nesting) if self._side_by_side else None
        return Joining(
            self.alpha,
            self.plate,
            dim,
            pool.share(self.num_particles),
            pool,
            self._register_networks,
            first_order=first_order,
            corrected=corrected,
        )


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
        The log-evidence is ``log N(1; 0, sqrt 2) = -1.5155``. A guide that is the prior
        is off by 0.31 as an ELBO, and by much less once 100 particles are joined.

        >>> import torch, pyro, pyro.distributions as dist
        >>> def model():
        ...     z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...     pyro.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(1.0))
        >>> def guide():
        ...     pyro.sample("z", dist.Normal(0.0, 1.0))
        >>> bound = IWELBO(num_particles=100, vectorize_particles=True)
        >>> _ = torch.manual_seed(0)
        >>> losses = [-bound.loss(model, guide) for _ in range(100)]
        >>> round(sum(losses) / 100, 2)
        -1.52
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
