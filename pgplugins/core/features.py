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
        >>> from torch.distributions import Bernoulli, LogNormal, Normal
        >>> centre = Feature("centre")
        >>> @centre.register(Normal)
        ... def _(dist):
        ...     return dist.loc
        >>> centre.of(Normal(2.0, 1.0)), centre.of(Bernoulli(0.5)), centre.families()
        (tensor(2.), None, ['Normal'])
        >>> centre.supports(Normal(0.0, 1.0)), centre.supports(LogNormal(0.0, 1.0))
        (True, False)
        >>> centre.lack(LogNormal(0.0, 1.0))
        'LogNormal(Normal) has no centre; families that have one: Normal'
    """

    def __init__(self, name: str) -> None:
        """Start with no families."""
        self.name = name
        self._offers: dict[type[Distribution], Callable[..., T]] = {}

    def register(
        self, kind: type[Distribution]
    ) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Return a decorator for the function that makes the offer for ``kind``.

        Args:
            kind: A distribution type; it stands for its subclasses as well, unless they
                have an offer or a ``log_prob`` of their own. The function gets an
                instance of it.
        """

        def keep(function: Callable[..., T]) -> Callable[..., T]:
            self._offers[kind] = function
            return function

        return keep

    def supports(self, dist: Distribution) -> bool:
        """Return whether the family of ``dist`` makes the offer.

        Args:
            dist: Seen through ``to_event`` and ``expand``.
        """
        return self._find(dist) is not None

    def lack(self, dist: Distribution) -> str | None:
        """Return words for what ``dist`` lacks; ``None`` if its family makes the offer.

        Args:
            dist: Seen through ``to_event`` and ``expand``.
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
        """Return what the family of ``dist`` offers; ``None`` if nothing.

        Args:
            dist: Seen through ``to_event`` and ``expand``.
        """
        found = self._find(dist)
        return None if found is None else found(element(dist))

    def families(self) -> list[str]:
        """Return the names of the families that make the offer, sorted."""
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

    Example:
        What DisARM (Dong et al. 2020, eq. 7) asks of Bernoulli: with the cost ``b`` the
        gradient for the logit is ``p (1 - p)``, here 1/4.

        >>> import torch, pgplugins as pg
        >>> logit = torch.zeros(10_000, requires_grad=True)
        >>> d = torch.distributions.Bernoulli(logits=logit)
        >>> pair = pg.families.coupling.of(d)
        >>> first, second = pair.value
        >>> estimate = ((first - second) / 2 * pair.direction).sum()
        >>> torch.autograd.grad(estimate, logit)[0].mean()
        tensor(0.2500)
    """

    value: Tensor
    """Shape ``(2, *batch_shape, *event_shape)`` of one element's distribution."""
    direction: Tensor
    """Shape ``(*batch_shape)``."""


class WeakDerivative(NamedTuple):
    """Derivative of an expectation for one scalar parameter per element.

    ``d E[f(x)] / d parameter = E[scale * (f(plus) - f(minus))]`` (Pflug 1996; Mohamed
    et al. 2020, table 1).

    Example:
        For the rate of a Poisson law, one count more against the draw itself. With the
        cost ``x^2`` the derivative is ``E[2 x + 1]``, 7 at a rate of 3.

        >>> import torch, pgplugins as pg
        >>> d = torch.distributions.Poisson(torch.tensor(3.0))
        >>> (found,) = pg.families.weak_derivative.of(d)(torch.tensor([2.0, 4.0]))
        >>> found.scale, found.plus, found.minus
        (tensor([1., 1.]), tensor([3., 5.]), None)
        >>> found.scale * (found.plus**2 - torch.tensor([2.0, 4.0]) ** 2)
        tensor([5., 9.])
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
    """The weak derivatives that a family knows.

    A class whose instances are made from a distribution, and called with a draw.

    Example:
        >>> import torch
        >>> from pgplugins.families import WeakDerivative
        >>> class OfPoisson:
        ...     parameters = frozenset({"rate"})
        ...
        ...     def __init__(self, dist):
        ...         self.rate = dist.rate
        ...
        ...     def __call__(self, value):
        ...         scale = torch.ones_like(self.rate)
        ...         return [WeakDerivative(self.rate, scale, value + 1, None)]
        >>> d = torch.distributions.Poisson(torch.tensor([1.0, 3.0]))
        >>> OfPoisson(d)(torch.tensor([0.0, 5.0]))[0].plus
        tensor([1., 6.])
    """

    parameters: frozenset[str]
    """Names of the parameters that they cover."""

    def __call__(self, value: Tensor) -> list[WeakDerivative]:
        """Return one for every scalar parameter, coupled with a draw's ``value``.

        Args:
            value: The draw, shape ``(*batch_shape, *event_shape)``.
        """


class Relaxation(NamedTuple):
    """A choice among K points, which a softmax can mix.

    Adding Gumbel noise to ``logits`` and taking the largest makes the choice; a softmax
    in place of the maximum makes a point near the support, with a path to the logits
    (Maddison, Mnih and Teh 2017; Jang, Gu and Poole 2017).

    Example:
        >>> import torch, pgplugins as pg
        >>> d = torch.distributions.Bernoulli(torch.tensor(0.75))
        >>> relaxed = pg.families.relaxation.of(d)
        >>> relaxed.logits.softmax(-1), relaxed.points
        (tensor([0.2500, 0.7500]), tensor([0., 1.]))
        >>> relaxed.log_prob(torch.tensor([0.0, 0.5, 1.0])).exp()  # between them, too
        tensor([0.2500, 0.4330, 0.7500])
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
