"""What families of distributions offer estimators, open to plugins.

Each feature is a registry by distribution type, as torch's ``register_kl`` is::

    @pg.families.reflection.register(dist.Logistic)
    def _(law):
        return law.loc
"""

from pgplugins.core.features import (
    Coupled,
    Relaxation,
    WeakDerivative,
    WeakDerivatives,
    coupling,
    difference,
    reflection,
    relaxation,
    weak_derivative,
)
from pgplugins.families import (  # noqa: F401  (they register what they know)
    couplings,
    differences,
    reflections,
    relaxations,
    weak_derivatives,
)

__all__ = [
    "Coupled",
    "Relaxation",
    "WeakDerivative",
    "WeakDerivatives",
    "coupling",
    "difference",
    "reflection",
    "relaxation",
    "weak_derivative",
]
