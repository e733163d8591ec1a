"""Known faults of torch's and Pyro's families: what they draw, what they score.

Each was found by measurement: ``python -m tests.families`` compares the gradients of
every family with exact ones, and ``tests/families/test_faults.py`` shows each of these.
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import (
    CoalescentTimes,
    CoalescentTimesWithRate,
    Delta,
    ExpandedDistribution,
    GammaGaussianHMM,
    GaussianMRF,
    GroupedNormalNormal,
    ImproperUniform,
    LinearHMM,
    LogNormalNegativeBinomial,
    MaskedDistribution,
    MixtureOfDiagNormals,
    MixtureOfDiagNormalsSharedCovariance,
    ProjectedNormal,
    RelaxedBernoulliStraightThrough,
    RelaxedOneHotCategoricalStraightThrough,
    Stable,
    TorchDistribution,
    Unit,
    VonMises3D,
)
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch.distributions import (
    ContinuousBernoulli,
    GeneralizedPareto,
    OneHotCategoricalStraightThrough,
)

from pgplugins.core.faults import register_density_fault, register_path_fault

# Those that pass on the parts of what they wrap.
DELEGATES = {
    TorchDistributionMixin.score_parts,
    ExpandedDistribution.score_parts,
    MaskedDistribution.score_parts,
}


@register_path_fault(TorchDistributionMixin)
def _rejected_in_part(dist: TorchDistribution) -> str | None:
    """A path does not know the draws that were rejected (Naesseth et al. 2017)."""
    kind = type(dist)
    if kind.score_parts in DELEGATES:
        return None
    return (
        f"{kind.__name__} is reparameterized only in part (it has score_parts of its "
        "own), so the path does not carry the whole gradient"
    )


@register_path_fault(OneHotCategoricalStraightThrough)
@register_path_fault(RelaxedBernoulliStraightThrough)
@register_path_fault(RelaxedOneHotCategoricalStraightThrough)
def _straight_through(dist: TorchDistribution) -> str | None:
    return (
        f"the draws of {type(dist).__name__} are discrete and their gradient passes "
        "straight through the rounding, which is biased"
    )


@register_density_fault(RelaxedBernoulliStraightThrough)
@register_density_fault(RelaxedOneHotCategoricalStraightThrough)
def _density_before_rounding(dist: TorchDistribution) -> str | None:
    return (
        f"the log_prob of {type(dist).__name__} is that of the value before rounding, "
        "not of what its rsample draws"
    )


@register_path_fault(MixtureOfDiagNormals, of_parameters=True)
@register_path_fault(MixtureOfDiagNormalsSharedCovariance, of_parameters=True)
def _mixture_weights(dist: Any) -> str | None:
    """Right only for means on a line through the origin (and a least scale of 1)."""
    if not dist.component_logits.requires_grad:
        return None
    return (
        f"the path of {type(dist).__name__} to its component_logits is wrong in Pyro: "
        "it takes the components' means to lie on a line through the origin"
    )


@register_path_fault(ContinuousBernoulli, of_parameters=True)
def _near_one_half(dist: Any) -> str | None:
    if not dist.probs.requires_grad or bool(dist._outside_unstable_region().all()):
        return None
    return (
        "torch draws a ContinuousBernoulli whose probs lie within "
        f"{dist._lims} without looking at them, so that its path there is zero"
    )


@register_path_fault(GeneralizedPareto, of_parameters=True)
@register_density_fault(GeneralizedPareto, of_parameters=True)
def _concentration_of_zero(dist: Any) -> str | None:
    at = dist.concentration
    if not at.requires_grad or not bool((at == 0).any()):
        return None
    return (
        "at a concentration of 0 torch takes a GeneralizedPareto for an Exponential, "
        "and concentration gets a gradient of zero (start it next to 0)"
    )


@register_density_fault(GeneralizedPareto)
def _precision(dist: Any) -> str | None:
    if dist.concentration.dtype == torch.get_default_dtype():
        return None
    return (
        "torch compares the concentration of a GeneralizedPareto with a number of the "
        f"default type, so that it has no log_prob in {dist.concentration.dtype}"
    )


@register_density_fault(Stable)
def _coordinates(dist: Any) -> str | None:
    if dist.coords != "S":
        return None
    return (
        f'the density of {type(dist).__name__} with coords="S" is wrong in Pyro (it is '
        'taken at a tangent of the value); with coords="S0" it is right'
    )


@register_density_fault(Stable, of_parameters=True)
def _stability_near_one(dist: Any) -> str | None:
    if not bool(((dist.stability - 1).abs() < 0.15).any()):
        return None
    return (
        f"Pyro's quadrature for the density of {type(dist).__name__} fails far out "
        "where stability lies within 0.15 of 1, and its score is off by up to 40%"
    )


@register_density_fault(Delta, of_parameters=True)
def _no_density(dist: Any) -> str | None:
    if not (dist.v.requires_grad or dist.log_density.requires_grad):
        return None
    return "a Delta has no density, and its score is zero whatever its value"


@register_density_fault(Unit)
@register_path_fault(Unit)
def _factor(dist: Any) -> str | None:
    return "a Unit draws nothing: it is a factor, to be added to an objective"


@register_density_fault(CoalescentTimesWithRate)
@register_density_fault(GammaGaussianHMM)
@register_density_fault(GaussianMRF)
@register_density_fault(GroupedNormalNormal)
@register_density_fault(ImproperUniform)
@register_density_fault(LogNormalNegativeBinomial)
@register_density_fault(VonMises3D)
def _no_sample(dist: Any) -> str | None:
    return f"Pyro cannot draw from a {type(dist).__name__}, only score observations"


@register_density_fault(LinearHMM)
def _no_log_prob(dist: Any) -> str | None:
    return "LinearHMM has no log_prob"


@register_density_fault(ProjectedNormal)
def _dimension(dist: Any) -> str | None:
    dim = dist.event_shape[0]
    if dim in dist._log_prob_impls:
        return None
    known = ", ".join(map(str, sorted(dist._log_prob_impls)))
    return (
        f"ProjectedNormal has no log_prob in {dim} dimensions (Pyro knows that of "
        f"{known})"
    )


@register_density_fault(CoalescentTimes, of_parameters=True)
def _rate_of_one(dist: Any) -> str | None:
    if not (dist.rate.requires_grad or bool((dist.rate != 1).any())):
        return None
    return (
        "CoalescentTimes draws with a rate of 1, whatever its rate is, so that its "
        "score is not that of its draws"
    )
