"""Every distribution that Pyro exports, and what else it exports beside them."""

from __future__ import annotations

from tests.families.built import BUILT
from tests.families.multivariate import MULTIVARIATE
from tests.families.univariate import UNIVARIATE
from tests.families.without_rsample import WITHOUT_RSAMPLE

CATALOGUE = sorted(
    UNIVARIATE + MULTIVARIATE + BUILT + WITHOUT_RSAMPLE,
    key=lambda family: family.exported.lower(),
)
NO_DISTRIBUTIONS = {
    "CoalescentRateLikelihood": "a function of rates",
    "ComposeTransformModule": "a transform",
    "ConditionalDistribution": "abstract",
    "ConditionalTransform": "a transform",
    "ConditionalTransformModule": "a transform",
    "Distribution": "abstract",
    "ExponentialFamily": "abstract",
    "TorchDistribution": "abstract",
    "TransformModule": "a transform",
    "constraints": "a module",
    "enable_validation": "a function",
    "is_validation_enabled": "a function",
    "kl": "a module",
    "transforms": "a module",
    "validation_enabled": "a function",
}
