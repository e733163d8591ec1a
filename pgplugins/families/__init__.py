"""What the library knows of families of distributions, registered by type.

Importing this package registers it: what families offer estimators, and their faults.
The features are open to plugins; each is a registry by distribution type, as torch's
``register_kl`` is::

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
    continuous_bernoulli,
    couplings,
    differences,
    expanded,
    faults,
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
