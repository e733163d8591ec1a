"""One run of a guide and a model: their sites, and their log-densities as costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.infer.util import is_validation_enabled
from pyro.poutine.guide import GuideMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import prune_subsample_sites
from pyro.util import check_model_guide_match, check_site_shape
from torch import Tensor

from pgplugins.core.algebra import box
from pgplugins.core.fold import CostTerm, Site
from pgplugins.core.provenance import Sources, plain
from pgplugins.errors import PgpluginsError, ProgramError
from pgplugins.infer.dependencies import Dependencies
from pgplugins.infer.enumeration import warn_if_enumerated
from pgplugins.infer.messenger import Draws, in_program, plates_of


class Run(NamedTuple):
    """What one run of a program has drawn and what it costs."""

    sites: list[Site]
    costs: list[CostTerm]


def run_pair(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    draws: Draws,
) -> Run:
    """Draw from the guide, replay the model against it, and take costs ``log q - log p``.

    Raises:
        PgpluginsError: A site and its estimator do not fit, or the program does
            something that cannot be followed.
    """
    policy = draws.dependencies
    replayed = _Upstream(policy)
    unwrapped_guide = poutine.unwrap(guide)
    if isinstance(unwrapped_guide, GuideMessenger):
        with draws:
            guide(*args, **kwargs)
        model_trace, guide_trace = unwrapped_guide.get_traces()
        replayed.sources = draws._upstream
    else:
        with draws:
            guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
        draws.finish()
        with replayed:
            model_trace = poutine.trace(
                poutine.replay(model, trace=guide_trace)
            ).get_trace(*args, **kwargs)
    draws.finish()
    validate = is_validation_enabled()
    if validate:
        check_model_guide_match(model_trace, guide_trace, draws.max_plate_nesting)
        warn_if_enumerated(guide_trace)
    costs: list[CostTerm] = []
    for msg in prune_subsample_sites(model_trace).nodes.values():
        if msg["type"] == "sample" and not _is_free(msg):
            value, sources = _density(msg, policy)
            sources |= replayed.sources[msg["name"]]
            costs.append(
                CostTerm(
                    msg["name"], _weighed(msg, -value, validate, draws), plates_of(msg),
                    sources,
                )
            )
    for msg in prune_subsample_sites(guide_trace).nodes.values():
        if msg["type"] == "sample" and not _is_free(msg):
            costs.append(_guide_cost(msg, draws, validate))
    return Run(list(draws.sites.values()), costs)


class _Upstream(Messenger):  # type: ignore[misc]
    """Notes what every site of the model depends on when it runs, values aside."""

    def __init__(self, policy: Dependencies) -> None:
        super().__init__()
        self.policy = policy
        self.sources: dict[str, Sources] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        self.sources[msg["name"]] = self.policy.upstream_now()

    def _pyro_pgplugins_cost(self, msg: Any) -> None:
        raise ProgramError(
            f"pg.cost({msg['name']!r}, ...) in a model: an ELBO's costs are its "
            "log-densities. Write pyro.factor(name, -cost), or use pg.ExpectedCost."
        )


def _is_free(msg: Mapping[str, Any]) -> bool:
    """Whether a site adds nothing to any cost."""
    return msg["mask"] is False or bool((msg["infer"] or {}).get("_deterministic"))


def _density(
    msg: Mapping[str, Any], policy: Dependencies
) -> tuple[Tensor, Sources]:
    fn, value = msg["fn"], msg["value"]
    try:
        return policy.cost(
            lambda: fn.log_prob(value, *msg["args"], **msg["kwargs"]),
            fn, value, msg["scale"], msg["mask"],
        )
    except PgpluginsError:
        raise
    except ValueError as error:
        raise ValueError(
            f"Error while computing the log-density at site {msg['name']!r}:\n{error}"
        ) from error


def _weighed(
    msg: Any, value: Tensor, validate: bool, draws: Draws
) -> Tensor:
    """Scale and mask a log-density, as its plates and handlers ask."""
    scale, mask = msg["scale"], msg["mask"]
    with torch._C.DisableTorchFunctionSubclass():
        weighed: Tensor = scale_and_mask(value, scale, mask)
    if validate:
        msg["log_prob"] = weighed
        check_site_shape(msg, draws.max_plate_nesting)
    return weighed


def _guide_cost(msg: Any, draws: Draws, validate: bool) -> CostTerm:
    name = msg["name"]
    site = draws.sites.get(name)
    policy = draws.dependencies
    if site is None:
        value, sources = _density(msg, policy)
        sources |= draws.upstream_at(name)
    else:
        value = _own_density(msg, site)
        sources = site.bit | site.upstream
    cost = value if site is None else _own_cost(msg, site, value)
    return CostTerm(
        name, _weighed(msg, cost, validate, draws), plates_of(msg), sources
    )


def _own_density(msg: Mapping[str, Any], site: Site) -> Tensor:
    """Log q of a site's own value, shared with its score where that is the same."""
    with torch._C.DisableTorchFunctionSubclass():
        if site.draw.value.requires_grad or msg["fn"] is not site.draw.dist:
            density: Tensor = msg["fn"].log_prob(plain(msg["value"]))
            return density
        return in_program(site, site.draw.log_prob, 0)


def _own_cost(msg: Mapping[str, Any], site: Site, density: Tensor) -> Tensor:
    """Log q, less its direct gradient if the site's estimator drops that.

    The direct gradient has mean zero, and so have all derivatives of the box.
    """
    if site.estimator.traits.own_score == "keep":
        return density
    with torch._C.DisableTorchFunctionSubclass():
        if not site.draw.value.requires_grad and msg["fn"] is site.draw.dist:
            return density - in_program(site, site.draw.box, 0)
        held = plain(msg["value"]).detach().clone()
        return density - box(msg["fn"].log_prob(held))
