"""The built-in estimators, registered through the same hook as any plugin's."""

from __future__ import annotations

from pgplugins.core.estimator import Estimator
from pgplugins.estimators.doubly_reparameterized import DoublyReparameterized
from pgplugins.estimators.enumerate import Enumerate
from pgplugins.estimators.hybrid import Hybrid
from pgplugins.estimators.lax import Lax
from pgplugins.estimators.reparameterized import Reparameterized
from pgplugins.estimators.score_function import ScoreFunction
from pgplugins.plugins.hookspecs import hookimpl


@hookimpl
def pgplugins_register_estimators() -> list[type[Estimator]]:
    """Register the built-in estimators."""
    return [
        ScoreFunction,
        Reparameterized,
        Hybrid,
        Lax,
        Enumerate,
        DoublyReparameterized,
    ]
