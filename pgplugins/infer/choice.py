"""Which estimator a site gets, and who said so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from pyro.distributions import ExpandedDistribution
from torch.distributions import Distribution

from pgplugins.core.estimator import Estimator
from pgplugins.core.parts import element
from pgplugins.distribution import carried_estimator, unmasked, unwrapped
from pgplugins.errors import InputTypeError, ProgramError
from pgplugins.plugins import Site, default_estimator
from pgplugins.plugins import estimator as make_estimator
from pgplugins.plugins.suggestion import did_you_mean

EstimatorLike = str | Estimator | type[Estimator]
Estimators = (
    EstimatorLike
    | Mapping[Any, EstimatorLike]
    | Callable[[Site], EstimatorLike | None]
    | None
)


class Choice(NamedTuple):
    """An estimator for a site, and the reason for it."""

    estimator: Estimator
    reason: str


class EstimatorRules:
    """What ``estimators=`` says, with its precedence.

    The site's own ``infer={"estimator": ...}`` comes first, then a wrapper's estimator
    (:func:`pgplugins.wrap`), then exact names and name patterns in the order written,
    then distribution types (the most specific first), then the plugin hook
    ``pgplugins_default_estimator``, then the default: pathwise where there is
    ``rsample``, else the score function. A function in place of a mapping is asked
    after the wrapper; where it returns ``None`` the plugin hook and the default follow.

    Raises:
        InputTypeError: A key or a value is of a kind that cannot be used.
        UnknownEstimatorError: An estimator is not registered.
    """

    def __init__(self, estimators: Estimators) -> None:
        """Look every estimator up, so that a misspelling is found at once."""
        self._everywhere: Estimator | None = None
        self._function: Callable[[Site], EstimatorLike | None] | None = None
        self._patterns: dict[str, Estimator] = {}
        self._types: dict[type[Distribution], Estimator] = {}
        self._matched: set[str] = set()
        if estimators is None:
            return
        if isinstance(estimators, (str, Estimator, type)):
            self._everywhere = make_estimator(estimators)
        elif isinstance(estimators, Mapping):
            self._read(estimators)
        elif callable(estimators):
            self._function = estimators
        else:
            raise InputTypeError(
                f"estimators={estimators!r}: write a name, an instance, a mapping from "
                "site names, patterns or distribution types to estimators, or a "
                "function of a site."
            )

    def _read(self, mapping: Mapping[Any, EstimatorLike]) -> None:
        for key, value in mapping.items():
            if isinstance(key, str):
                self._patterns[key] = make_estimator(value)
            elif isinstance(key, type) and issubclass(key, Distribution):
                self._types[key] = make_estimator(value)
            else:
                raise InputTypeError(
                    f"estimators={{{key!r}: ...}}: a key is a site name, a pattern "
                    'such as "layer_*", or a distribution type such as '
                    "dist.Bernoulli."
                )

    @property
    def steady(self) -> bool:
        """Whether name, kind and ``infer`` decide, so that choices can be kept."""
        return self._function is None

    def choose(self, site: Site) -> Choice:
        """Return the estimator for a site."""
        own = site.infer.get("estimator")
        if own is not None:
            return Choice(make_estimator(own), f"the site {site.name!r} asks for it")
        carried = carried_estimator(site.dist)
        if carried is not None:
            return Choice(carried, "pg.wrap at the site")
        if self._everywhere is not None:
            return Choice(self._everywhere, "chosen for all sites")
        if self._function is not None:
            answer = self._function(site)
            if answer is not None:
                return Choice(make_estimator(answer), "chosen by a function")
        for pattern, chosen in self._patterns.items():
            if pattern == site.name:
                self._matched.add(pattern)
                return Choice(chosen, f"chosen by name {pattern!r}")
        for pattern, chosen in self._patterns.items():
            if fnmatchcase(site.name, pattern):
                self._matched.add(pattern)
                return Choice(chosen, f"chosen by pattern {pattern!r}")
        base = _family(site.dist)
        for kind in type(base).__mro__:
            if kind in self._types:
                return Choice(self._types[kind], f"chosen by type {kind.__name__}")
        decided = default_estimator(site)
        if decided is not None:
            return Choice(make_estimator(decided), "decided by a plugin")
        if base.has_rsample:
            return Choice(make_estimator("reparameterized"), "default: it has rsample")
        return Choice(make_estimator("score_function"), "default: it has no rsample")

    def require_matched(self, names: list[str]) -> None:
        """Raise if a name in the mapping belongs to no site of the program.

        Args:
            names: The random sites that were met.

        Raises:
            ProgramError: Naming the key and the sites that there are.
        """
        for pattern in self._patterns:
            if pattern not in self._matched:
                there_are = ", ".join(repr(n) for n in names) or "none"
                raise ProgramError(
                    f"estimators names {pattern!r}, but no random site matches it."
                    f"{did_you_mean(pattern, names)} Random sites: {there_are}."
                )


def _family(dist: Distribution) -> Distribution:
    """Return what a type in the mapping is meant for: the law without its wrappers."""
    base = element(unmasked(unwrapped(dist)))
    # What Pyro makes in a plate of a law that does not know how to expand.
    return _family(base.base_dist) if isinstance(base, ExpandedDistribution) else base
