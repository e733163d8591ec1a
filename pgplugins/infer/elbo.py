"""The evidence lower bound with an estimator per site."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from pyro.infer.elbo import ELBOModule
from pyro.infer.util import is_validation_enabled
from pyro.util import warn_if_nan
from torch import Tensor, nn

from pgplugins.core.fold import average_rows, fold
from pgplugins.core.numbers import flag
from pgplugins.core.pooling import LOCAL, Pool
from pgplugins.core.taken import take_gradients
from pgplugins.distributed.collectives import Distributed
from pgplugins.distributed.session import Session, pool_of
from pgplugins.errors import InputError
from pgplugins.infer.choice import Estimators
from pgplugins.infer.pair import PairObjective
from pgplugins.infer.total import add_up, check_costs, total_cost


class ELBO(PairObjective):
    """A drop-in for ``Trace_ELBO`` and ``TraceGraph_ELBO``, with an estimator per site.

    Works with :class:`pyro.infer.SVI`, and ``elbo(model, guide)`` is a
    :class:`torch.nn.Module` whose call returns the differentiable loss, as with every
    Pyro ELBO. With default estimators its gradients equal ``Trace_ELBO``'s in the mean:
    a score site sees no costs but those downstream of it, and has a leave-one-out
    baseline where particles are vectorized.

    Args:
        estimators: A name or an instance for all sites; a mapping from site names, name
            patterns (``"layer_*"``) or distribution types to estimators; a function of
            a :class:`~pgplugins.plugins.Site` that returns an estimator or ``None``. A
            site's own ``infer={"estimator": ...}`` comes before all of them, then
            :func:`pgplugins.wrap`, names, patterns, types, the plugin hook, and the
            default: pathwise where there is ``rsample``, else the score function.
        num_particles: Number of independent samples of the guide.
        vectorize_particles: Draw them side by side in an outermost plate, which
            leave-one-out baselines need.
        chunk_size: At most how many run side by side, where all at once take too much
            memory. Chunks are as even as they can be, and each is differentiated before
            the next one is run, so that losses have first derivatives only. Baselines
            compare the particles of one chunk.
        max_plate_nesting: Largest number of nested plates; guessed by running model and
            guide once if it is needed and not given.
        max_iarange_nesting: Pyro's old name for it.
        dependencies: How the costs downstream of a site are found: ``"provenance"``
            (values remember their sites, and what escapes into Python control flow
            reaches all that follows), ``"plates"`` (as ``Trace_ELBO``) or ``"order"``
            (everything later).
        static: Keep the dependencies of the first run for as long as sites, shapes and
            plates stay the same; a program that turns draws into Python values is
            refused.
        analytic_kl: Where a site's divergence from its prior has a closed form
            (:func:`torch.distributions.kl_divergence`) and its densities depend on its
            own draw in no other way, the divergence stands for their difference, so
            that the site's score or path need not estimate it. Other sites are sampled.
        distributed: Divide the particles over the ranks of ``torch.distributed``, or of
            another engine's :class:`~pgplugins.distributed.Collectives`, and pool
            whatever one process would: the loss, baselines across particles, what
            estimators learn, and in ``loss_and_grads`` the gradients. The gradient of
            ``differentiable_loss`` is made to be averaged over ranks.
        retain_graph: Keep the autograd graph after ``loss_and_grads``.
        strict_enumeration_warning: Warn of sites marked for ``TraceEnum_ELBO``.
        ignore_jit_warnings: Refused: Pyro's JIT is not used here.
        jit_options: Refused: Pyro's JIT is not used here.
        tail_adaptive_beta: Refused: it belongs to ``TraceTailAdaptive_ELBO``.

    Raises:
        InputError: An argument has a value that cannot be used.
        InputTypeError: ``distributed`` is of a kind that cannot be used.
        UnknownEstimatorError: No estimator is registered under a name.

    Example:
        >>> import torch, pyro, pyro.distributions as dist
        >>> def model():
        ...     pyro.sample("z", dist.Bernoulli(0.3))
        >>> def guide():
        ...     logit = pyro.param("logit", torch.tensor(2.0))
        ...     pyro.sample("z", dist.Bernoulli(logits=logit))
        >>> pyro.clear_param_store()
        >>> elbo = ELBO(estimators={"z": "enumerate"}, max_plate_nesting=0)
        >>> svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), elbo)
        >>> losses = [svi.step() for _ in range(200)]
        >>> round(torch.sigmoid(pyro.param("logit")).item(), 2)
        0.3
    """

    def __init__(
        self,
        num_particles: int = 1,
        max_plate_nesting: float = math.inf,
        max_iarange_nesting: float | None = None,
        vectorize_particles: bool = False,
        strict_enumeration_warning: bool = True,
        ignore_jit_warnings: bool = False,
        jit_options: dict[str, Any] | None = None,
        retain_graph: bool | None = None,
        tail_adaptive_beta: float = -1.0,
        *,
        estimators: Estimators = None,
        dependencies: str = "provenance",
        static: bool = False,
        analytic_kl: bool = False,
        distributed: Distributed = False,
        chunk_size: int | None = None,
    ) -> None:
        """Check the arguments; nothing runs before the first loss."""
        if ignore_jit_warnings or jit_options is not None:
            raise InputError(
                "ignore_jit_warnings and jit_options are for Pyro's JitTrace_ELBO, "
                "which traces with torch.jit; pg.ELBO runs eagerly. Leave them out."
            )
        if tail_adaptive_beta != -1.0:
            raise InputError(
                f"tail_adaptive_beta={tail_adaptive_beta!r} belongs to Pyro's "
                "TraceTailAdaptive_ELBO, another objective. Leave it out."
            )
        inherited: Any = super()  # Pyro does not say its types
        inherited.__init__(
            num_particles=num_particles,
            max_plate_nesting=max_plate_nesting,
            max_iarange_nesting=max_iarange_nesting,
            vectorize_particles=vectorize_particles,
            strict_enumeration_warning=strict_enumeration_warning,
            retain_graph=retain_graph,
        )
        self._set_up(
            estimators,
            dependencies,
            static=static,
            distributed=distributed,
            chunk_size=chunk_size,
        )
        flag(analytic_kl, "analytic_kl")
        self.analytic_kl = analytic_kl

    def __call__(self, model: nn.Module, guide: nn.Module) -> ELBOModule:
        """Return a module whose call returns the differentiable loss.

        Estimators with parameters of their own (neural baselines) are its submodules
        from the first call on.

        Args:
            model: The model.
            guide: The guide.

        Example:
            >>> import torch, pyro, pyro.distributions as dist
            >>> class Guide(pyro.nn.PyroModule):
            ...     def __init__(self):
            ...         super().__init__()
            ...         self.p = torch.nn.Parameter(torch.tensor(0.5))
            ...
            ...     def forward(self):
            ...         pyro.sample("z", dist.Bernoulli(self.p))
            >>> class Model(pyro.nn.PyroModule):
            ...     def forward(self):
            ...         pyro.sample("z", dist.Bernoulli(0.3))
            >>> loss = ELBO(estimators="enumerate")(Model(), Guide())
            >>> loss().backward()
            >>> [(name, p.grad) for name, p in loss.named_parameters()]  # log(.7 / .3)
            [('guide.p', tensor(0.8473))]
        """
        module = ELBOModule(model, guide, self)
        module.estimators = self._bound
        return module

    def loss(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> float:
        """Return an estimate of the negative ELBO, without a gradient.

        Args:
            model: The model.
            guide: The guide.
            args: What both are called with.
            kwargs: Likewise.

        Raises:
            EstimatorError: An estimator does not fit its site.
            ProgramError: Model and guide do not go together, or do something that no
                objective can follow.
            ShapeError: A density has batch dimensions that are no plates.
            NotFiniteError: A log-density is nan or infinite (with validation on).
            DistributedError: The ranks do not go together.

        Example:
            The divergence of Bernoulli(0.5) from Bernoulli(0.3):

            >>> import pyro, pyro.distributions as dist
            >>> def model():
            ...     pyro.sample("z", dist.Bernoulli(0.3))
            >>> def guide():
            ...     pyro.sample("z", dist.Bernoulli(0.5))
            >>> round(ELBO(estimators="enumerate").loss(model, guide), 4)
            0.0872
        """
        loss = 0.0
        with self._estimate(model, guide, args, kwargs) as session, torch.no_grad():
            pool = pool_of(session)
            for part in self._parts(model, guide, args, kwargs, pool, corrected=False):
                loss += part.item()
            loss = _total(loss, session)
        _warn_if_nan(loss)
        return loss

    def differentiable_loss(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """Return an estimate of the negative ELBO; ``backward()`` one of its gradient.

        With ``chunk_size`` the gradient is taken chunk by chunk as the loss is made,
        for all leaf tensors that it depends on; ``backward()`` hands it out, once. With
        ``distributed`` every rank is told the loss of all; the mean over ranks of the
        gradients is its gradient.

        Args:
            model: The model.
            guide: The guide.
            args: What both are called with.
            kwargs: Likewise.

        Returns:
            A scalar.

        Raises:
            EstimatorError: An estimator does not fit its site.
            ProgramError: Model and guide do not go together, or do something that no
                objective can follow.
            ShapeError: A density has batch dimensions that are no plates.
            NotFiniteError: A log-density is nan or infinite (with validation on).
            DistributedError: The ranks do not go together.
            EstimatorError: From ``backward`` with ``create_graph=True``, if an
                estimator has first derivatives only.

        Example:
            First and second derivative of a divergence, ``log(p / 0.3) - log((1 - p) /
            0.7)`` and ``1 / (p (1 - p))``:

            >>> import torch, pyro, pyro.distributions as dist
            >>> p = torch.tensor(0.5, requires_grad=True)
            >>> def model():
            ...     pyro.sample("z", dist.Bernoulli(0.3))
            >>> def guide():
            ...     pyro.sample("z", dist.Bernoulli(p))
            >>> loss = ELBO(estimators="enumerate").differentiable_loss(model, guide)
            >>> (first,) = torch.autograd.grad(loss, p, create_graph=True)
            >>> first.item(), torch.autograd.grad(first, p)
            (0.847..., (tensor(4.),))
        """
        with self._estimate(model, guide, args, kwargs) as session:
            pool = pool_of(session)
            once = self.chunk_size is not None
            parts = self._parts(model, guide, args, kwargs, pool, first_order=once)
            loss = pool.estimate(self._join(parts), "the loss")
        self._refuse_second(loss)
        _warn_if_nan(loss)
        return loss

    def first_order_loss(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """As :meth:`differentiable_loss`, for one derivative only, which is cheaper.

        Nothing is decided by its value, so that it can be traced.

        Raises:
            NotFiniteError: A log-density is nan or infinite (with validation on).
        """
        return self._join(self._parts(model, guide, args, kwargs, LOCAL))

    def loss_and_grads(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> float:
        """Return an estimate of the negative ELBO; add its gradient to parameters'.

        What :class:`pyro.infer.SVI` calls. With ``distributed`` both are those of all
        ranks together.

        Args:
            model: The model.
            guide: The guide.
            args: What both are called with.
            kwargs: Likewise.

        Raises:
            EstimatorError: An estimator does not fit its site.
            ProgramError: Model and guide do not go together, or do something that no
                objective can follow.
            ShapeError: A density has batch dimensions that are no plates.
            NotFiniteError: A log-density is nan or infinite (with validation on).
            DistributedError: The ranks do not go together.

        Example:
            >>> import torch, pyro, pyro.distributions as dist
            >>> p = torch.tensor(0.5, requires_grad=True)
            >>> def model():
            ...     pyro.sample("z", dist.Bernoulli(0.3))
            >>> def guide():
            ...     pyro.sample("z", dist.Bernoulli(p))
            >>> loss = ELBO(estimators="enumerate").loss_and_grads(model, guide)
            >>> round(loss, 4), p.grad
            (0.0872, tensor(0.8473))
        """
        loss = 0.0
        with (
            self._estimate(model, guide, args, kwargs) as session,
            self._gradients(session),
        ):
            pool = pool_of(session)
            for part in self._parts(model, guide, args, kwargs, pool):
                loss += part.item()
                if part.requires_grad:
                    part.backward(retain_graph=self.retain_graph)
            loss = _total(loss, session)
        _warn_if_nan(loss)
        return loss

    def _join(self, parts: Iterator[Tensor]) -> Tensor:
        return add_up(parts) if self.chunk_size is None else take_gradients(parts)

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
        """Run model and guide, and yield scalars whose sum (over ranks) is the loss.

        Args:
            model: The model.
            guide: The guide.
            args: What both are called with.
            kwargs: What both are called with.
            pool: The ranks.
            first_order: The loss will be differentiated once at most.
            corrected: Correct the gradient; else the value is all that is wanted.
        """
        for run in self._runs(
            model, guide, args, kwargs, pool, first_order=first_order
        ):
            costs = (
                fold(run.sites, run.costs, first_order=first_order)
                if corrected
                else average_rows(run.sites, run.costs)
            )
            total: Tensor = total_cost(costs) / self.num_particles
            if is_validation_enabled():
                check_costs(total, run.costs)
            if corrected:
                self._register_networks()
            if not run.counts:
                total = 0 * total
            # Nothing of a run is kept while the next one runs.
            del run, costs
            yield total
            del total


def _total(loss: float, session: Session | None) -> float:
    """Add up the ranks' shares of a loss."""
    if session is None:
        return loss
    share = torch.tensor(loss, dtype=torch.float64)
    return session.pool.total(share, 1, "the loss")[0].item()


def _warn_if_nan(loss: Any) -> None:
    """Say so, as Pyro's objectives do; with validation on it has been raised."""
    warn_if_nan(loss, "loss")
