"""Sites that are marked for Pyro's own enumeration."""

from __future__ import annotations

import warnings
from typing import Any

from pgplugins.errors import PgpluginsWarning


def warn_if_enumerated(guide_trace: Any) -> None:
    """Warn of guide sites that are marked for ``TraceEnum_ELBO``."""
    marked = [
        name
        for name, site in guide_trace.nodes.items()
        if site["type"] == "sample" and (site["infer"] or {}).get("enumerate")
    ]
    if marked:
        warnings.warn(
            f"Sites {marked} are marked for enumeration by TraceEnum_ELBO "
            '(infer={"enumerate": ...}), which pg.ELBO does not read: they are drawn '
            'by their estimators. Write infer={"estimator": "enumerate"} to '
            "enumerate them here.",
            PgpluginsWarning,
            stacklevel=2,
        )
