"""Whether an estimator can serve a distribution, and if not, why."""

from __future__ import annotations

from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator
from pgplugins.core.faults import density_fault, faults_vary, path_fault
from pgplugins.core.features import FEATURES
from pgplugins.core.parts import describe, element
from pgplugins.core.points import too_large
from pgplugins.core.support import support_may_move, support_moves
from pgplugins.errors import EstimatorError, ShapeError


def misfit(estimator: Estimator, dist: Distribution) -> str | None:
    """Say what ``dist`` lacks that ``estimator`` needs; ``None`` if nothing.

    Example:
        >>> from torch.distributions import Bernoulli
        >>> from pgplugins.estimators.reparameterized import Reparameterized
        >>> misfit(Reparameterized(), Bernoulli(0.5))
        'Bernoulli has no rsample'
    """
    needs = estimator.traits.needs
    if "rsample" in needs:
        if not dist.has_rsample:
            return f"{describe(dist)} has no rsample"
        if (fault := path_fault(dist)) is not None:
            return fault
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
    if "log_prob" in needs and (fault := _score_fault(dist)) is not None:
        return fault
    return estimator.refusal(dist)


def _score_fault(dist: Distribution) -> str | None:
    if (fault := density_fault(dist)) is not None:
        return fault
    if not support_moves(dist):
        return None
    return (
        f"the support of {describe(dist)} depends on its parameters, so that its "
        "score misses the gradient of the bounds"
    )


def fits_for_good(estimator: Estimator, dist: Distribution) -> bool:
    """Whether what :func:`misfit` says stays so when the parameters change.

    Example:
        >>> from torch.distributions import Normal
        >>> from pgplugins.estimators.reparameterized import Reparameterized
        >>> fits_for_good(Reparameterized(), Normal(0.0, 1.0))
        True
    """
    scores = "log_prob" in estimator.traits.needs
    return not (faults_vary(dist) or (scores and support_may_move(dist)))


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
    names = []
    if dist.has_rsample and path_fault(dist) is None:
        names.append("reparameterized")
    elif element(dist).has_enumerate_support and too_large(dist) is None:
        names.append("enumerate")
    if _score_fault(dist) is None:
        names.append("score_function")
    return " or ".join(f'estimator="{n}"' for n in names) or "another distribution"


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
    if draw.value.shape[1:] != want and not _alike(draw, dist):
        raise ShapeError(
            f"{type(estimator).__name__}.draw returned values of shape "
            f"{tuple(draw.value.shape)} at site {site!r}; they must be "
            f"(rows, *batch, *event) = (rows, {', '.join(map(str, want))})."
        )


def _alike(draw: Draw, dist: Distribution) -> bool:
    """Whether a draw's rows have size 1 along what they do not vary along."""
    batch, there = dist.batch_shape, draw.value.shape[1:]
    return (
        draw.rows > 1
        and len(there) == len(batch) + len(dist.event_shape)
        and there[len(batch) :] == dist.event_shape
        and all(size in (1, full) for size, full in zip(there, batch, strict=False))
    )
