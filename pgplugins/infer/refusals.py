"""What programs ask of a site that no estimator can give, refused with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pgplugins.errors import EstimatorError, ProgramError


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
