"""A distribution that carries its estimator, for Pyro's ELBOs and for torch code."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import Delta, Independent, MaskedDistribution, TorchDistribution
from pyro.distributions.score_parts import ScoreParts
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import Distribution, kl_divergence, register_kl

from pgplugins.core.estimator import Estimator
from pgplugins.core.features import log_prob_near_support
from pgplugins.core.fit import require_fit
from pgplugins.errors import EstimatorError, InputTypeError, ProgramError
from pgplugins.families.faults import DELEGATES
from pgplugins.plugins import estimator as make_estimator

_ONE = torch.Size()


def wrap(dist: Distribution, estimator: str | Estimator) -> WrappedDistribution:
    """Return ``dist`` with an estimator of its own.

    Under Pyro's ELBOs a ``"score_function"`` distribution is treated as one without
    ``rsample`` and a ``"reparameterized"`` one as usual; under :class:`pgplugins.ELBO`
    any estimator with one row works. Estimators with several rows are chosen there by
    ``estimators=`` or at the site.

    Args:
        dist: Any torch or Pyro distribution; batch and event shapes are kept.
        estimator: A name or an instance.

    Raises:
        EstimatorError: The estimator does not fit the distribution, or has several
            rows.
        UnknownEstimatorError: Nothing is registered under the name.
        InputTypeError: ``dist`` is not a distribution.

    Example:
        Under Pyro's own ``Trace_ELBO``, the score function in place of the path. The
        divergence of N(2, 1) from N(0, 1) has the gradient 2 for the mean.

        >>> import torch, pyro, pyro.distributions as dist
        >>> mu = torch.tensor(2.0, requires_grad=True)
        >>> def model():
        ...     pyro.sample("z", dist.Normal(0.0, 1.0))
        >>> def guide():
        ...     pyro.sample("z", wrap(dist.Normal(mu, 1.0), "score_function"))
        >>> _ = torch.manual_seed(0)
        >>> elbo = pyro.infer.Trace_ELBO(
        ...     num_particles=20_000, vectorize_particles=True, max_plate_nesting=0
        ... )
        >>> elbo.differentiable_loss(model, guide).backward()
        >>> round(mu.grad.item(), 1)
        2.0
    """
    if not isinstance(dist, Distribution):
        raise InputTypeError(
            f"pg.wrap takes a distribution and an estimator; found {dist!r}, a "
            f"{type(dist).__name__}, as the distribution."
        )
    chosen = make_estimator(estimator)
    require_fit(chosen, dist)
    if chosen.traits.many_rows:
        raise EstimatorError(
            f"Estimator {chosen.name!r} evaluates several rows for every draw, and a "
            "distribution can hand out only one. Choose it where rows are handled: "
            f'pg.ELBO(estimators={{"site name": "{chosen.name}"}}).'
        )
    if "relaxation" in chosen.traits.needs:
        raise EstimatorError(
            f"The draws of estimator {chosen.name!r} leave the support, where Pyro's "
            "own ELBOs have no density for them. Choose it where that is handled: "
            f'pg.ELBO(estimators={{"site name": "{chosen.name}"}}).'
        )
    return WrappedDistribution(dist, chosen)


class WrappedDistribution(TorchDistribution):
    """``base_dist`` in every respect, with the estimator that is to draw from it.

    Made by :func:`wrap`, which says what fits. A Pyro distribution: moments, densities
    and ``expand`` are those of ``base_dist``.

    Args:
        base_dist: The distribution.
        estimator: The estimator.

    Attributes:
        has_rsample: Whether draws are attached to the parameters, which the estimator
            decides.
        has_enumerate_support: That of ``base_dist``.

    Example:
        >>> import torch, pgplugins as pg, pyro.distributions as dist
        >>> wrapped = pg.wrap(dist.Normal(torch.tensor(0.0), 1.0), "score_function")
        >>> wrapped, wrapped.has_rsample, wrapped.mean
        (wrap(Normal(loc: 0.0, scale: 1.0), 'score_function'), False, tensor(0.))
        >>> wrapped.rsample()
        Traceback (most recent call last):
            ...
        pgplugins.errors.EstimatorError: Estimator 'score_function' differentiates ...
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, base_dist: Distribution, estimator: Estimator) -> None:
        """Keep both."""
        self.base_dist = base_dist
        self.estimator = estimator
        self.has_rsample = "rsample" in estimator.traits.needs
        self.has_enumerate_support = bool(base_dist.has_enumerate_support)
        super().__init__(
            base_dist.batch_shape, base_dist.event_shape, validate_args=False
        )

    @property
    def support(self) -> Any:
        """The support of the distribution."""
        return self.base_dist.support

    @property
    def mean(self) -> Tensor:
        """The mean, shape ``batch_shape + event_shape``."""
        return self.base_dist.mean

    @property
    def variance(self) -> Tensor:
        """The variance, shape ``batch_shape + event_shape``."""
        return self.base_dist.variance

    @property
    def mode(self) -> Tensor:
        """The mode, shape ``batch_shape + event_shape``."""
        return self.base_dist.mode

    def expand(
        self, batch_shape: Any, _instance: Distribution | None = None
    ) -> WrappedDistribution:
        """Expand the distribution; the estimator stays."""
        return WrappedDistribution(self.base_dist.expand(batch_shape), self.estimator)

    def sample(self, sample_shape: Any = _ONE) -> Tensor:
        """Draw, detached from the parameters."""
        # A transform with a cache would hand the path back with the value.
        return self.base_dist.sample(sample_shape).detach().clone()

    def rsample(self, sample_shape: Any = _ONE) -> Tensor:
        """Draw, attached to the parameters.

        Raises:
            EstimatorError: The estimator is one that detaches its draws.
        """
        if not self.has_rsample:
            raise EstimatorError(
                f"Estimator {self.estimator.name!r} differentiates the density at a "
                "fixed point, so its draws are detached: call .sample(), or wrap the "
                'distribution with "reparameterized".'
            )
        return self.base_dist.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density, shape ``batch_shape``."""
        return self.base_dist.log_prob(value)

    def entropy(self) -> Tensor:
        """Entropy, shape ``batch_shape``."""
        return self.base_dist.entropy()

    def cdf(self, value: Tensor) -> Tensor:
        """Cumulative distribution function at ``value``."""
        return self.base_dist.cdf(value)

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile at ``value``."""
        return self.base_dist.icdf(value)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All points of the support."""
        return self.base_dist.enumerate_support(expand=expand)

    def score_parts(self, value: Tensor) -> ScoreParts:
        """Return what Pyro's ELBOs make a gradient of.

        Args:
            value: Shape ``(*sample_shape, *batch_shape, *event_shape)``.

        Returns:
            The log-density; the part that is differentiated with the value held, zero
            for a pathwise estimator; the part that is differentiated along the path,
            zero for the score function. Shapes ``(*sample_shape, *batch_shape)``.

        Raises:
            ProgramError: The estimator is neither of the two that they know.

        Example:
            >>> import torch, pgplugins as pg, pyro.distributions as dist
            >>> coin = dist.Bernoulli(torch.tensor(0.5))
            >>> pg.wrap(coin, "score_function").score_parts(torch.tensor(1.0))
            ScoreParts(log_prob=tensor(-0.6931), score_function=tensor(-0.6931), ...=0)
        """
        traits = self.estimator.traits
        if not traits.pathwise and self.estimator.name != "score_function":
            # Pyro would catch a ValueError here and raise another in its place.
            raise ProgramError(
                f"Pyro's own ELBOs know the score function and the pathwise gradient "
                f"only, not {self.estimator.name!r}. Write pg.ELBO(...) in place of "
                "Trace_ELBO; it takes the same arguments."
            )
        log_prob = self.log_prob(value)
        zero: Any = 0  # which Pyro recognises; a tensor of zeros it would add
        if traits.pathwise:
            return ScoreParts(log_prob, zero, log_prob)
        return ScoreParts(log_prob, log_prob, zero)

    def __repr__(self) -> str:
        """Show what is wrapped, and in what."""
        return f"wrap({self.base_dist!r}, {self.estimator.name!r})"


DELEGATES.add(WrappedDistribution.score_parts)


def carried_estimator(dist: Distribution) -> Estimator | None:
    """Return the estimator that ``dist``, or what it wraps, carries."""
    while True:
        if isinstance(dist, WrappedDistribution):
            return dist.estimator
        base = getattr(dist, "base_dist", None)
        if not isinstance(base, Distribution):
            return None
        dist = base


def unwrapped(dist: Distribution) -> Distribution:
    """Return ``dist`` without the estimators that it carries."""
    if isinstance(dist, WrappedDistribution):
        return unwrapped(dist.base_dist)
    if isinstance(dist, torch.distributions.Independent):
        return _rewrap(dist, unwrapped(dist.base_dist))
    if isinstance(dist, MaskedDistribution):
        base = unwrapped(dist.base_dist)
        return dist if base is dist.base_dist else MaskedDistribution(base, dist._mask)
    return dist


def unmasked(dist: Distribution) -> Distribution:
    """Return ``dist`` without masks: they weigh costs, not draws nor scores."""
    if isinstance(dist, MaskedDistribution):
        return unmasked(dist.base_dist)
    if isinstance(dist, torch.distributions.Independent):
        return _rewrap(dist, unmasked(dist.base_dist))
    return dist


def near_support(dist: Distribution, value: Tensor) -> Tensor:
    """Log-density where a relaxation has led ``value`` off the support.

    Raises:
        EstimatorError: The family has no relaxation.
    """
    if isinstance(dist, MaskedDistribution):
        density = near_support(dist.base_dist, value)
        masked: Tensor = scale_and_mask(density, 1.0, dist._mask)
        return masked
    if isinstance(dist, torch.distributions.Independent):
        density = near_support(dist.base_dist, value)
        joined = dist.reinterpreted_batch_ndims
        return density.sum(tuple(range(-joined, 0))) if joined else density
    return log_prob_near_support(unwrapped(dist), value)


def _rewrap(
    dist: torch.distributions.Independent[Any], base: Distribution
) -> Distribution:
    if base is dist.base_dist:
        return dist
    return Independent(base, dist.reinterpreted_batch_ndims)


def _kl(p: Distribution, q: Distribution) -> Tensor:
    return kl_divergence(unwrapped(p), unwrapped(q))


for _pair in (
    (WrappedDistribution, WrappedDistribution),
    (WrappedDistribution, Distribution),
    (Distribution, WrappedDistribution),
    (Delta, WrappedDistribution),
    (WrappedDistribution, Delta),
):
    register_kl(*_pair)(_kl)
