"""One run of a guide and a model: their sites, and their log-densities as costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import MaskedDistribution
from pyro.distributions.util import scale_and_mask
from pyro.infer.util import is_validation_enabled
from pyro.poutine.guide import GuideMessenger
from pyro.poutine.trace_struct import Trace
from pyro.poutine.util import site_is_subsample
from pyro.util import check_model_guide_match, check_site_shape
from torch import Tensor

from pgplugins.core.algebra import score_term, without_direct_gradient
from pgplugins.core.provenance import Sources, plain, sources_of_value
from pgplugins.core.terms import CostTerm, Site
from pgplugins.distribution import near_support, unmasked, unwrapped
from pgplugins.errors import EstimatorError, PgpluginsError, ProgramError
from pgplugins.infer.analytic_kl import divergence, replaceable
from pgplugins.infer.enumeration import warn_if_enumerated
from pgplugins.infer.layout import in_program, plates_of
from pgplugins.infer.messenger import Draws, NoEstimators
from pgplugins.infer.recording import Replayed
from pgplugins.infer.run import Run


def run_pair(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    draws: Draws,
    *,
    first_order: bool,
    additive: bool,
    analytic_kl: bool,
    check_model: bool,
) -> Run:
    """Draw from the guide, replay the model, and take costs ``log q - log p``.

    Args:
        model: The model.
        guide: The guide.
        args: What both are called with.
        kwargs: What both are called with.
        draws: The handler that draws, for one run.
        first_order: The costs will be differentiated once.
        additive: The loss is the mean of the particles' costs.
        analytic_kl: Write divergences in closed form where there are.
        check_model: Look at the model's sites for what is not read there.

    Raises:
        PgpluginsError: A site and its estimator do not fit, or the program does
            something that cannot be followed.
    """
    unwrapped_guide = poutine.unwrap(guide)
    traces: tuple[Trace, Trace] | None = None
    in_model: Mapping[str, Any]
    in_guide: Mapping[str, Any]
    if isinstance(unwrapped_guide, GuideMessenger):
        draws.joint = True
        with draws:
            guide(*args, **kwargs)
        traces = unwrapped_guide.get_traces()
        in_model, in_guide = (trace.nodes for trace in traces)
        reached = draws.reached
    else:
        with draws:
            guide(*args, **kwargs)
        if check_model:
            model = NoEstimators()(model)
        replayed = Replayed(draws.messages, draws.dependencies)
        with replayed:
            model(*args, **kwargs)
        in_model, in_guide = replayed.messages, draws.messages
        reached = replayed.reached
    draws.finish()
    if draws.costs:
        raise ProgramError(
            f"pg.cost({draws.costs[0].name!r}, ...) in a guide: an ELBO's costs are "
            "its log-densities. Write pyro.factor in the model, or use pg.ExpectedCost."
        )
    if is_validation_enabled():
        if traces is None:
            traces = replayed.trace(), draws.trace()
        check_model_guide_match(*traces, draws.max_plate_nesting)
        warn_if_enumerated(traces[1])
    divergences = (
        _divergences(in_model, in_guide, reached, draws) if analytic_kl else {}
    )
    costs = [
        _model_cost(msg, draws, reached.get(name, 0))
        for name, msg in in_model.items()
        if _counts(msg) and name not in divergences
    ]
    costs += [
        divergences.get(name)
        or _guide_cost(msg, draws, first_order=first_order, additive=additive)
        for name, msg in in_guide.items()
        if _counts(msg)
    ]
    if not costs:
        raise ProgramError(
            "Neither model nor guide has a sample site that counts (all are masked, or "
            "there are none), so there is no loss."
        )
    return Run(list(draws.sites.values()), costs)


def visit_pair(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> None:
    """Run guide and model once, for what they make on their first run."""
    with poutine.block():
        drawn = poutine.trace(guide).get_trace(*args, **kwargs)
        poutine.replay(model, trace=drawn)(*args, **kwargs)


def _counts(msg: Any) -> bool:
    """Whether a node of a trace adds to any cost."""
    return (
        msg["type"] == "sample"
        and msg["mask"] is not False
        and not (msg["infer"] or {}).get("_deterministic")
        and not site_is_subsample(msg)
    )


def _divergences(
    in_model: Mapping[str, Any],
    in_guide: Mapping[str, Any],
    reached: Mapping[str, Sources],
    draws: Draws,
) -> dict[str, CostTerm]:
    """Divergences in closed form, by the site whose two densities they stand for."""
    found = {}
    for name in replaceable(in_model, in_guide):
        msg = in_guide[name]
        if not _counts(msg):
            continue
        value = divergence(msg["fn"], unwrapped(in_model[name]["fn"]))
        if value is not None:
            sources = sources_of_value(value) | reached.get(name, 0)
            sources |= draws.reached.get(name, 0)
            found[name] = _cost(msg, plain(value), sources, draws)
    return found


def _density(msg: Mapping[str, Any], draws: Draws) -> tuple[Tensor, Sources]:
    """Log-density at a site, and the sites that it is seen to depend on."""
    fn, value, args, kwargs = msg["fn"], msg["value"], msg["args"], msg["kwargs"]
    log_prob: Callable[..., Tensor] = (
        partial(near_support, fn) if msg["name"] in draws.off_support else fn.log_prob
    )
    try:
        if not draws.sites:
            return log_prob(value, *args, **kwargs), 0
        return draws.dependencies.cost(
            lambda: log_prob(value, *args, **kwargs),
            msg["fn"],
            value,
            msg["scale"],
            msg["mask"],
        )
    except PgpluginsError:
        raise
    except ValueError as error:
        raise ValueError(
            f"Error while computing the log-density at site {msg['name']!r}:\n{error}"
        ) from error


def _cost(msg: Any, value: Tensor, sources: Sources, draws: Draws) -> CostTerm:
    """Scale and mask a cost, as its plates and handlers ask."""
    scale, mask = msg["scale"], msg["mask"]
    if mask is not None or not (type(scale) is float and scale == 1.0):
        with torch._C.DisableTorchFunctionSubclass():
            value = plain(scale_and_mask(value, scale, mask))
    if is_validation_enabled():
        msg["log_prob"] = value
        check_site_shape(msg, draws.max_plate_nesting)  # type: ignore[arg-type]
    return CostTerm(msg["name"], value, plates_of(msg), sources, scale)


def _model_cost(msg: Any, draws: Draws, reached: Sources) -> CostTerm:
    density, sources = _density(msg, draws)
    return _cost(msg, -density, sources | reached, draws)


def _guide_cost(
    msg: Any, draws: Draws, *, first_order: bool, additive: bool
) -> CostTerm:
    name = msg["name"]
    site = draws.sites.get(name)
    # Whatever a guide's factor stands for was drawn somewhere before it.
    hidden = draws.factors
    if site is None:
        density, sources = _density(msg, draws)
        sources |= draws.reached.get(name, 0) | hidden
        return _cost(msg, density, sources, draws)
    if not additive and site.traits.own_score == "path":
        site.own_weight = _own_weight(msg)
    # A mask or a scale may depend on sites that the density does not.
    value, weighing = draws.dependencies.cost(
        lambda: _own_cost(msg, site, first_order=first_order, additive=additive),
        msg["fn"],
        msg["scale"],
        msg["mask"],
    )
    sources = site.bit | site.upstream | weighing | hidden
    return _cost(msg, value, sources, draws)


def _own_weight(msg: Mapping[str, Any]) -> float | Tensor:
    """What scales and masks make of a site's own log q, by batch element.

    Raises:
        EstimatorError: A mask lies inside of an event, whose elements differ then.
    """
    law, masks = msg["fn"], [msg["mask"]]
    while isinstance(law, MaskedDistribution):
        masks.append(law._mask)
        law = law.base_dist
    if unmasked(law) is not law:
        raise EstimatorError(
            f"Site {msg['name']!r} masks elements of one event, whose own log q would "
            'then count differently along one path. Write "reparameterized" there, or '
            "mask after to_event."
        )
    weight = plain(msg["scale"])
    for mask in masks:
        if mask is not None:
            weight = weight * torch.as_tensor(plain(mask)).to(torch.get_default_dtype())
    return weight


def _own_cost(
    msg: Mapping[str, Any], site: Site, *, first_order: bool, additive: bool
) -> Tensor:
    """Log q, less its direct gradient if the site's estimator drops that.

    In an additive loss the direct gradient has mean zero, and so have all derivatives
    of a score term.
    Where the value is held and nothing is masked, log q is what the score needs anyway.
    """
    own_score = site.traits.own_score
    drop = own_score == "path" or (additive and own_score == "drop")
    law = msg["fn"]
    delegation = site.draw.delegation
    if delegation is not None and delegation.law is not None and unmasked(law) is law:
        law = delegation.law
    if not site.draw.value.requires_grad and law is site.draw.dist:
        draw = site.draw
        shared = (
            draw.row_log_prob
            if site.row_dim is None
            else in_program(site, draw.log_prob, 0)
        )
        if not drop:
            return shared
        return shared.detach() if first_order else without_direct_gradient(shared)
    if drop and site.draw.held_dist is not None and unmasked(law) is law:
        return in_program(site, site.draw.held_dist.log_prob(site.draw.value), 0)
    value = plain(msg["value"])
    log_prob: Callable[[Tensor], Tensor] = (
        partial(near_support, law) if site.draw.off_support else law.log_prob
    )
    density = log_prob(value)
    if not drop:
        return density
    held = log_prob(value.detach())
    return density + score_term(held.new_ones(()), -held)
