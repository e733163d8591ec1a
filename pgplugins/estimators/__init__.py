"""The built-in estimators, registered through the same hook as any plugin's."""

from __future__ import annotations

from pgplugins.core.estimator import Estimator
from pgplugins.estimators.antithetic import Antithetic
from pgplugins.estimators.disarm import Disarm
from pgplugins.estimators.doubly_reparameterized import DoublyReparameterized
from pgplugins.estimators.enumerate import Enumerate
from pgplugins.estimators.finite_difference import FiniteDifference
from pgplugins.estimators.gumbel_softmax import GumbelSoftmax
from pgplugins.estimators.hybrid import Hybrid
from pgplugins.estimators.lax import Lax
from pgplugins.estimators.measure_valued import MeasureValued
from pgplugins.estimators.rebar import Rebar
from pgplugins.estimators.reinmax import Reinmax
from pgplugins.estimators.relax import Relax
from pgplugins.estimators.reparameterized import Reparameterized
from pgplugins.estimators.score_function import ScoreFunction
from pgplugins.estimators.straight_through import StraightThrough
from pgplugins.estimators.sum_and_sample import SumAndSample
from pgplugins.estimators.total_propagation import TotalPropagation
from pgplugins.estimators.unordered_set import UnorderedSet
from pgplugins.plugins.hookspecs import hookimpl


@hookimpl
def pgplugins_register_estimators() -> list[type[Estimator]]:
    """Register the built-in estimators."""
    return [
        ScoreFunction,
        Reparameterized,
        Hybrid,
        TotalPropagation,
        Lax,
        Enumerate,
        SumAndSample,
        Disarm,
        Rebar,
        Relax,
        MeasureValued,
        UnorderedSet,
        FiniteDifference,
        Antithetic,
        GumbelSoftmax,
        StraightThrough,
        Reinmax,
        DoublyReparameterized,
    ]
