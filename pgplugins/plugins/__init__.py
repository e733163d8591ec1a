"""Estimators by name: built in, installed as plugins, or registered by hand."""

from pgplugins.plugins.catalogue import ALIASES
from pgplugins.plugins.hookspecs import Site, hookimpl
from pgplugins.plugins.overview import EstimatorRow, overview
from pgplugins.plugins.record import PluginRecord
from pgplugins.plugins.registry import (
    available,
    default_estimator,
    estimator,
    estimator_class,
    owner_of,
    plugins,
    problems,
    register,
)

__all__ = [
    "ALIASES",
    "EstimatorRow",
    "PluginRecord",
    "Site",
    "available",
    "default_estimator",
    "estimator",
    "estimator_class",
    "hookimpl",
    "overview",
    "owner_of",
    "plugins",
    "problems",
    "register",
]
