"""The hooks that a plugin may implement, and what they are told.

``docs/plugins.md`` shows how to write, prove and publish one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pluggy
from torch.distributions import Distribution

from pgplugins.core.estimator import Estimator
from pgplugins.core.problem import Problem

PROJECT: Final = "pgplugins"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True)
class Site:
    """A random choice of a program, as a plugin gets to see it.

    Args:
        name: The site's name in the program.
        dist: The distribution it draws from.
        infer: What the program wrote in ``pyro.sample(..., infer=...)``.

    Example:
        >>> from torch.distributions import Normal
        >>> site = Site("layer_1", Normal(0.0, 1.0), {"wide": True})
        >>> site.dist.has_rsample and not site.infer.get("wide")
        False
    """

    name: str
    dist: Distribution
    infer: Mapping[str, Any] = field(default_factory=dict)


@hookspec
def pgplugins_register_estimators() -> list[type[Estimator]]:
    """Offer estimators; called once, when the plugin is loaded.

    Returns:
        Concrete subclasses of :class:`~pgplugins.Estimator` with a ``name`` that nobody
        else has and with ``traits``; anything else is a
        :class:`~pgplugins.errors.RegistrationError`, and the plugin is left out.

    Example:
        >>> import pgplugins as pg
        >>> class PlainScore(pg.Estimator):
        ...     name = "plain_score"
        ...     traits = pg.Traits(unbiased=True, needs=frozenset({"log_prob"}))
        ...
        ...     def draw(self, dist):
        ...         return pg.Draw(dist=dist, value=dist.sample().unsqueeze(0))
        ...
        ...     def gradient_term(self, draw, cost):
        ...         return draw.score_term(cost)[0]
        >>> @pg.hookimpl
        ... def pgplugins_register_estimators():
        ...     return [PlainScore]
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def pgplugins_default_estimator(site: Site) -> str | Estimator | None:
    """Decide for a site whose program names no estimator.

    The first answer that is not ``None`` counts. Plugins are asked in reverse order of
    their names; mark the implementation ``hookimpl(tryfirst=True)`` or
    ``hookimpl(trylast=True)`` to be asked before or after the others.

    Args:
        site: The site to decide for.

    Returns:
        The name of an estimator, a configured instance, or ``None`` to leave the
        decision to the next plugin and at last to pgplugins; anything else is an
        :class:`~pgplugins.errors.InputTypeError` where the program runs.

    Example:
        >>> import pgplugins as pg
        >>> from pgplugins.plugins import Site
        >>> from torch.distributions import Bernoulli, Normal
        >>> @pg.hookimpl
        ... def pgplugins_default_estimator(site):
        ...     return "enumerate" if site.dist.has_enumerate_support else None
        >>> pgplugins_default_estimator(Site("z", Bernoulli(0.5)))
        'enumerate'
        >>> pgplugins_default_estimator(Site("w", Normal(0.0, 1.0)))  # None: as usual
    """
    raise NotImplementedError


@hookspec
def pgplugins_register_problems() -> list[Problem]:
    """Offer problems with exact gradients; called once, when the plugin is loaded.

    The conformance kit proves every estimator on them that serves them. A plugin that
    brings a distribution family of its own brings a problem for it here.

    Returns:
        Instances of :class:`~pgplugins.testing.problems.Problem`, with names that no
        other problem has.

    Example:
        >>> import torch, pgplugins as pg
        >>> from torch.distributions import Exponential
        >>> from pgplugins.testing.problems import Expectation, Problem
        >>> waiting = Problem(
        ...     name="waiting_time",
        ...     parameters={"rate": torch.tensor(2.0, dtype=torch.float64)},
        ...     objective=Expectation(
        ...         law=lambda p: Exponential(p["rate"]), cost=lambda x, p: x**2
        ...     ),
        ...     expected_cost=lambda p: 2 / p["rate"] ** 2,
        ... )
        >>> @pg.hookimpl
        ... def pgplugins_register_problems():
        ...     return [waiting]
        >>> pgplugins_register_problems()[0].gradient()  # -4 / rate^3
        tensor([-0.5000], dtype=torch.float64)
    """
    raise NotImplementedError
