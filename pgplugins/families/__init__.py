"""What the library knows of families of distributions, registered by type.

Importing this package registers it: what families offer estimators, and their faults.
The features are open to plugins; each is a registry by distribution type, as torch's
``register_kl`` is.

Example:
    A family that ``antithetic`` serves once somebody has said where its centre is:

    >>> import torch, pyro.distributions as dist, pgplugins as pg
    >>> @pg.families.reflection.register(dist.Logistic)
    ... def _(law):
    ...     return law.loc
    >>> mu = torch.tensor(1.0, requires_grad=True)
    >>> law = dist.Logistic(mu, torch.tensor(1.0))
    >>> loss = pg.expectation(lambda x: x**2, law, estimator="antithetic")
    >>> torch.autograd.grad(loss, mu)  # exact, from one pair of draws
    (tensor(2.),)

    Who offers what:

    >>> pg.families.coupling.families(), pg.families.difference.families()
    (['Bernoulli'], ['Binomial', 'Geometric', 'Poisson'])
    >>> pg.families.relaxation.families()
    ['Bernoulli', 'Categorical', 'OneHotCategorical']
    >>> pg.families.weak_derivative.supports(torch.distributions.Gamma(2.0, 1.0))
    True
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
