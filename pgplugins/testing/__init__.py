"""Proof: the conformance kit and its exact problems.

``check_estimator`` runs the kit, ``parametrize_with_checks`` makes one test of every
check, and ``problems`` holds what estimators are proven on.
"""

from pgplugins.testing import problems
from pgplugins.testing.conformance import check_estimator, run_checks
from pgplugins.testing.parametrize import parametrize_with_checks
from pgplugins.testing.registry import Check
from pgplugins.testing.report import Report, Result

__all__ = [
    "Check",
    "Report",
    "Result",
    "check_estimator",
    "parametrize_with_checks",
    "problems",
    "run_checks",
]
