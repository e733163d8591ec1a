"""What a distribution is made of: what it wraps, and what it is built on."""

from __future__ import annotations

from collections.abc import Iterator

from torch.distributions import Distribution, Independent


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


def is_another_law(kind: type) -> bool:
    """Whether a type's density may be another than that of the type it derives from.

    Then what is known of that one by its type says nothing of this one. Torch and Pyro
    derive types that write the same density in another way.

    Example:
        >>> from torch.distributions import Poisson
        >>> class Doubled(Poisson):
        ...     def log_prob(self, value):
        ...         return super().log_prob(value / 2)
        >>> is_another_law(Doubled), is_another_law(Poisson)
        (True, False)
    """
    library = kind.__module__.partition(".")[0] in ("torch", "pyro")
    return "log_prob" in vars(kind) and not library


def parts_of(dist: Distribution) -> Iterator[Distribution]:
    """Yield ``dist`` and every distribution that it is made of.

    Example:
        >>> from torch.distributions import Independent, Normal
        >>> [type(part).__name__ for part in parts_of(Independent(Normal(0.0, 1.0), 0))]
        ['Independent', 'Normal']
    """
    yield dist
    for value in vars(dist).values():
        if isinstance(value, Distribution):
            yield from parts_of(value)
