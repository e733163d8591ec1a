"""What a family of distributions offers an estimator, registered by type.

Like torch's ``register_kl``: an estimator asks for a feature of a distribution, and the
most specific type that has it answers. ``to_event`` and ``expand`` are seen through: a
feature belongs to the distribution of one element.

A type with a ``log_prob`` of its own is another law than the one that it is derived
from, and does not inherit what that offers: a zero-inflated Poisson has not the weak
derivative of a Poisson.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.parts import describe, element, is_another_law
from pgplugins.errors import EstimatorError

T = TypeVar("T")


class Feature(Generic[T]):
    """A kind of offer, and the distribution types that make it.

    Args:
        name: As ``Traits(needs=...)`` writes it.

    Example:
        >>> from torch.distributions import Bernoulli, Normal
        >>> centre = Feature("centre")
        >>> @centre.register(Normal)
        ... def _(dist):
        ...     return dist.loc
        >>> centre.of(Normal(2.0, 1.0)), centre.of(Bernoulli(0.5)), centre.families()
        (tensor(2.), None, ['Normal'])
    """

    def __init__(self, name: str) -> None:
        """Start with no families."""
        self.name = name
        self._offers: dict[type[Distribution], Callable[..., T]] = {}

    def register(
        self, kind: type[Distribution]
    ) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Return a decorator for the function that makes the offer for ``kind``."""

        def keep(function: Callable[..., T]) -> Callable[..., T]:
            self._offers[kind] = function
            return function

        return keep

    def lack(self, dist: Distribution) -> str | None:
        """Say that the family of ``dist`` makes no offer; ``None`` if it does.

        Example:
            >>> from torch.distributions import Poisson
            >>> Feature("relaxation").lack(Poisson(2.0))
            'Poisson has no relaxation; families that have one: none'
        """
        if self._find(dist) is not None:
            return None
        what = self.name.replace("_", " ")
        kind = type(element(dist))
        said = (
            f"{describe(dist)} has no {what}; families that have one: "
            f"{', '.join(self.families()) or 'none'}"
        )
        base = next((k for k in kind.__mro__ if k in self._offers), None)
        if base is None:
            return said
        return (
            f"{said} ({kind.__name__} has a log_prob of its own and so may be another "
            f"law than {base.__name__}; register its {what} with "
            f"pgplugins.families.{self.name})"
        )

    def of(self, dist: Distribution) -> T | None:
        """Return what the family of ``dist`` offers; ``None`` if nothing."""
        found = self._find(dist)
        return None if found is None else found(element(dist))

    def families(self) -> list[str]:
        """Names of the families that make the offer."""
        return sorted(kind.__name__ for kind in self._offers)

    def _find(self, dist: Distribution) -> Callable[..., T] | None:
        for kind in type(element(dist)).__mro__:
            found = self._offers.get(kind)
            if found is not None:
                return found
            if is_another_law(kind):
                return None
        return None


def log_prob_near_support(dist: Distribution, value: Tensor) -> Tensor:
    """Log-density where a relaxation has led a value off the support.

    Returns:
        Shape ``batch_shape`` of ``dist`` (and of ``value``, where that has more
        dimensions).

    Raises:
        EstimatorError: The family has no relaxation.
    """
    relaxed = relaxation.of(dist)
    if relaxed is None:
        raise EstimatorError(
            f"A relaxed value lies off the support of {type(element(dist)).__name__}, "
            "which has no relaxation to give its density there; families that have "
            f"one: {', '.join(relaxation.families())}. Choose an estimator without "
            'relaxed rows, such as "score_function".'
        )
    joined = len(dist.event_shape) - len(element(dist).event_shape)
    density = relaxed.log_prob(value)
    return density.sum(tuple(range(-joined, 0))) if joined else density


class Coupled(NamedTuple):
    """Two draws of one law that depend on one another.

    Half the difference of their costs, times the gradient of ``direction``, estimates
    the gradient of the expected cost.
    """

    value: Tensor
    """Shape ``(2, *batch_shape, *event_shape)`` of one element's distribution."""
    direction: Tensor
    """Shape ``(*batch_shape)``."""


class WeakDerivative(NamedTuple):
    """Derivative of an expectation for one scalar parameter per element.

    ``d E[f(x)] / d parameter = E[scale * (f(plus) - f(minus))]``.
    """

    parameter: Tensor
    """Shape ``(*batch_shape)``."""
    scale: Tensor
    """Broadcastable to ``batch_shape``; it may depend on the draw."""
    plus: Tensor
    """Shape ``(*batch_shape, *event_shape)``."""
    minus: Tensor | None
    """The same; ``None`` stands for the draw itself."""


class WeakDerivatives(Protocol):
    """The weak derivatives that a family knows."""

    parameters: frozenset[str]
    """Names of the parameters that they cover."""

    def __call__(self, value: Tensor) -> list[WeakDerivative]:
        """Return one for every scalar parameter, coupled with a draw's ``value``."""


class Relaxation(NamedTuple):
    """A choice among K points, which a softmax can mix.

    Adding Gumbel noise to ``logits`` and taking the largest makes the choice; a softmax
    in place of the maximum makes a point near the support, with a path to the logits.
    """

    logits: Tensor
    """Shape ``(*batch_shape, K)``, up to a constant for each choice."""
    points: Tensor
    """The support, shape ``(K, *event_shape)``."""
    log_prob: Callable[[Tensor], Tensor]
    """Log-density, continued to mixtures of the points."""


relaxation: Feature[Relaxation] = Feature("relaxation")
weak_derivative: Feature[WeakDerivatives] = Feature("weak_derivative")
coupling: Feature[Coupled] = Feature("coupling")
difference: Feature[WeakDerivatives] = Feature("difference")
reflection: Feature[Tensor] = Feature("reflection")
FEATURES = {
    feature.name: feature
    for feature in (relaxation, weak_derivative, coupling, difference, reflection)
}
