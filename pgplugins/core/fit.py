"""Whether an estimator can serve a distribution, and if not, why."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution, Independent

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator
from pgplugins.core.features import FEATURES
from pgplugins.errors import EstimatorError, ShapeError


def describe(dist: Distribution) -> str:
    """Name a distribution with what it wraps, such as ``Independent(Normal)``.

    Example:
        >>> import torch
        >>> from torch.distributions import Independent, Normal
        >>> describe(Independent(Normal(torch.zeros(2), 1.0), 1))
        'Independent(Normal)'
    """
    name = type(dist).__name__
    base = getattr(dist, "base_dist", None)
    return f"{name}({describe(base)})" if isinstance(base, Distribution) else name


def element(dist: Distribution) -> Distribution:
    """Return the distribution of one element of an event that ``to_event`` joined.

    Example:
        >>> import torch
        >>> from torch.distributions import Bernoulli, Independent
        >>> element(Independent(Bernoulli(torch.zeros(2)), 1)).has_enumerate_support
        True
    """
    while isinstance(dist, Independent):
        dist = dist.base_dist
    return dist


def misfit(estimator: Estimator, dist: Distribution) -> str | None:
    """Say what ``dist`` lacks that ``estimator`` needs; ``None`` if nothing.

    Example:
        >>> from torch.distributions import Bernoulli
        >>> from pgplugins.estimators.reparameterized import Reparameterized
        >>> misfit(Reparameterized(), Bernoulli(0.5))
        'Bernoulli has no rsample'
    """
    needs = estimator.traits.needs
    if "rsample" in needs and not dist.has_rsample:
        return f"{describe(dist)} has no rsample"
    if "enumerate_support" in needs and not element(dist).has_enumerate_support:
        return (
            f"{describe(dist)} has no finite support to enumerate (enumerate_support)"
        )
    for name, feature in FEATURES.items():
        if name in needs and not feature.supports(dist):
            return (
                f"{describe(dist)} has no {name.replace('_', ' ')}; families that have "
                f"one: {', '.join(feature.families())}"
            )
    if "log_prob" in needs and _support_moves(dist):
        return (
            f"the support of {describe(dist)} depends on its parameters, so that its "
            "score misses the gradient of the bounds"
        )
    return estimator.refusal(dist)


def _support_moves(dist: Distribution) -> bool:
    """Whether a bound of the support is a parameter that is differentiated for."""
    try:
        support = element(dist).support
    except NotImplementedError:
        return False
    while (base := getattr(support, "base_constraint", None)) is not None:
        support = base
    return any(
        isinstance(bound, Tensor) and bound.requires_grad
        for bound in vars(support).values()
    )


def require_fit(estimator: Estimator, dist: Distribution, where: str = "") -> None:
    """Raise unless ``estimator`` can serve ``dist``.

    Args:
        estimator: The estimator that was asked for.
        dist: The distribution that it is to draw from.
        where: What the error says in front, such as ``"At site 'z': "``.

    Raises:
        EstimatorError: Naming the estimator, the distribution and what is missing.
    """
    reason = misfit(estimator, dist)
    if reason is not None:
        raise EstimatorError(
            f"{where}estimator {estimator.name!r} does not fit: {reason}. "
            f"Write {suggestion(dist)} instead."
        )


def suggestion(dist: Distribution) -> str:
    """Name the built-in estimators that serve ``dist``."""
    names = ["score_function"]
    if dist.has_rsample:
        names.insert(0, "reparameterized")
    elif element(dist).has_enumerate_support:
        names.insert(0, "enumerate")
    return " or ".join(f'estimator="{n}"' for n in names)


def check_draw(
    site: str, estimator: Estimator, draw: object, dist: Distribution
) -> None:
    """Raise unless an estimator drew what its contract says.

    Args:
        site: The site's name.
        estimator: The estimator.
        draw: What it returned.
        dist: What it was to draw from.

    Raises:
        EstimatorError: It returned something else than a draw.
        ShapeError: The values have another shape.
    """
    if not isinstance(draw, Draw):
        raise EstimatorError(
            f"{type(estimator).__name__}.draw returned a {type(draw).__name__} at "
            f"site {site!r}; it must return a pg.Draw."
        )
    want = dist.batch_shape + dist.event_shape
    if draw.value.shape[1:] != want:
        raise ShapeError(
            f"{type(estimator).__name__}.draw returned values of shape "
            f"{tuple(draw.value.shape)} at site {site!r}; they must be "
            f"(rows, *batch, *event) = (rows, {', '.join(map(str, want))})."
        )
