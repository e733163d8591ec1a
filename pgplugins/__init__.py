"""pgplugins: pluggable gradient estimators for Pyro.

The map of the package: every public name is re-exported here, nothing is defined here.
"""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from types import ModuleType as _ModuleType

from pgplugins import families, rl
from pgplugins.compiled.front import compile
from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.diagnostics.comparison import compare
from pgplugins.diagnostics.explain import explain
from pgplugins.diagnostics.explain_result import Explanation
from pgplugins.diagnostics.lint.session import lint
from pgplugins.diagnostics.result import Comparison
from pgplugins.distribution import WrappedDistribution, wrap
from pgplugins.errors import PgpluginsError, PgpluginsWarning
from pgplugins.functional import expectation
from pgplugins.infer.cost import cost
from pgplugins.infer.elbo import ELBO
from pgplugins.infer.expected_cost import ExpectedCost
from pgplugins.infer.importance import IWELBO, RenyiELBO
from pgplugins.plugins import available, estimator, hookimpl, register
from pgplugins.recorded import surrogate

__version__ = _version("pgplugins")

__all__ = [
    "ELBO",
    "IWELBO",
    "Comparison",
    "Draw",
    "Estimator",
    "ExpectedCost",
    "Explanation",
    "PgpluginsError",
    "PgpluginsWarning",
    "RenyiELBO",
    "Traits",
    "WrappedDistribution",
    "available",
    "compare",
    "compile",
    "cost",
    "estimator",
    "expectation",
    "explain",
    "families",
    "hookimpl",
    "lint",
    "register",
    "rl",
    "surrogate",
    "testing",
    "wrap",
]


def __getattr__(name: str) -> _ModuleType:
    """Import ``pgplugins.testing`` when it is first asked for."""
    if name == "testing":
        return _import_module("pgplugins.testing")
    raise AttributeError(f"module 'pgplugins' has no attribute {name!r}")
