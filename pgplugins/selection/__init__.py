"""The estimator that chooses among others, registered as a built-in plugin."""

from __future__ import annotations

from pgplugins.core.estimator import Estimator
from pgplugins.plugins.hookspecs import hookimpl
from pgplugins.selection.auto import Auto


@hookimpl
def pgplugins_register_estimators() -> list[type[Estimator]]:
    """Register ``auto``."""
    return [Auto]
