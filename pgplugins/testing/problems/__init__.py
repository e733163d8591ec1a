"""Problems with exact gradients: what estimators are proven on.

``available()`` lists them, those of installed plugins included
(:func:`~pgplugins.plugins.hookspecs.pgplugins_register_problems`).
"""

from pgplugins.core.problem import Expectation, Problem, Program, Variational
from pgplugins.testing.problems.catalogue import available, built_in

__all__ = [
    "Expectation",
    "Problem",
    "Program",
    "Variational",
    "available",
    "built_in",
]
