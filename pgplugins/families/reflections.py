"""Centres of symmetry: ``2 c - x`` has the law of ``x``."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import (
    Cauchy,
    Laplace,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    StudentT,
)

from pgplugins.core.features import reflection


@reflection.register(Normal)
@reflection.register(Laplace)
@reflection.register(Cauchy)
@reflection.register(StudentT)
@reflection.register(MultivariateNormal)
@reflection.register(LowRankMultivariateNormal)
def _(
    dist: Normal
    | Laplace
    | Cauchy
    | StudentT
    | MultivariateNormal
    | LowRankMultivariateNormal,
) -> Tensor:
    centre: Tensor = dist.loc
    return centre
