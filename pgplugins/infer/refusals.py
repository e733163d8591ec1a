"""What programs ask of a site that no estimator can give, refused with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from pgplugins.core.graph import reaches
from pgplugins.core.provenance import sources_of_value
from pgplugins.core.terms import Site
from pgplugins.errors import EstimatorError, ProgramError, ShapeError


def require_kept(msg: Mapping[str, Any], value: Tensor, stack: Any) -> None:
    """Raise if a handler around the objective changed what was drawn."""
    if msg["value"] is not value:
        what = "sets its value (poutine.condition, do or replay)"
    elif msg["cond_indep_stack"] is not stack and any(
        f.vectorized and f not in stack for f in msg["cond_indep_stack"]
    ):
        what = "puts it into a plate"
    else:
        return
    raise ProgramError(
        f"Site {msg['name']!r} was drawn, and then a handler around the objective "
        f"{what}. Put that handler around model and guide, not around the objective."
    )


def refuse_unknown(msg: Mapping[str, Any]) -> None:
    """Raise for a random site that no estimator can serve."""
    if msg["is_observed"] or getattr(msg["fn"], "has_rsample", True):
        return
    raise ProgramError(
        f"Site {msg['name']!r} draws from a {type(msg['fn']).__name__}, which is no "
        "torch.distributions.Distribution. Derive it from "
        "pyro.distributions.TorchDistribution."
    )


def refuse_pyro_baseline(name: str, infer: Mapping[str, Any]) -> None:
    """Raise for a baseline that is asked for in TraceGraph_ELBO's way."""
    if infer.get("baseline"):
        raise EstimatorError(
            f"Site {name!r} asks for a baseline in TraceGraph_ELBO's way, "
            'infer={"baseline": ...}. Write infer={"estimator": '
            'pg.estimator("score_function", baseline="moving_average")}, or '
            '"leave_one_out", "neural", a module or a tensor.'
        )


def refuse_joined_particles(
    name: str, value: Tensor, particle_dim: int, paths: Iterable[Tensor]
) -> None:
    """Raise for a cost that joins the draws of all particles into one number.

    It would count once for every particle, and a baseline across particles would take
    all of it away.
    """
    if value.dim() >= -particle_dim and value.shape[particle_dim] != 1:
        return
    if sources_of_value(value) or reaches(value, paths):
        raise ShapeError(
            f"pg.cost({name!r}, ...) has shape {tuple(value.shape)} and depends on "
            "draws, but it has no entry for each particle: particles run side by side, "
            f"along dimension {particle_dim}. Sum over the cost's own dimensions only, "
            "such as .sum(-1) (with keepdim=True over a plate), or write "
            "vectorize_particles=False."
        )


def refuse_cut_paths(sites: Iterable[Site]) -> None:
    """Raise for estimators that no longer combine two estimates of one gradient.

    Raises:
        EstimatorError: Naming the sites.
    """
    combining = {"log_prob", "relaxation"}
    misled = [
        site
        for site in sites
        if site.estimator.traits.unbiased
        and "differentiable_cost" in site.estimator.traits.needs
        and site.estimator.traits.needs & combining
    ]
    if misled:
        names = ", ".join(repr(site.name) for site in misled[:3])
        more = f" and {len(misled) - 3} more" if len(misled) > 3 else ""
        raise EstimatorError(
            "The program cuts paths (pg.rl.truncate), but "
            f"{misled[0].estimator.name!r} at site {names}{more} combines the path "
            "with a score, and relies on both having the same mean. Write "
            'estimators="reparameterized" (truncated: biased), '
            '"score_function" or "lax", or leave pg.rl.truncate out.'
        )
