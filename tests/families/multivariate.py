"""Distributions of vectors, matrices and sequences."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from scipy.special import roots_legendre

from tests.families.family import Family
from tests.families.truth import (
    integral,
    log_chi2,
    logistic_grid,
    normal_grid,
    of_normal,
)


def _tensor(x):
    return torch.tensor(x, dtype=torch.float64)


def _lower(p):
    """A Cholesky factor of two dimensions from three numbers."""
    zero = torch.zeros_like(p[0])
    return torch.stack(
        [torch.stack([p[0], zero], -1), torch.stack([p[1], p[2]], -1)], -2
    )


def _mixture(cost, locs, coord_scale, component_logits):
    if coord_scale.dim() == 1:
        coord_scale = coord_scale.expand_as(locs)
    parts = [
        of_normal(cost, loc, torch.diag(scale))
        for loc, scale in zip(locs, coord_scale, strict=True)
    ]
    return (torch.softmax(component_logits, -1) * torch.stack(parts)).sum()


def _scale_mixture(cost, coord_scale, component_logits, component_scale):
    parts = [
        of_normal(cost, torch.zeros_like(coord_scale), torch.diag(coord_scale * s))
        for s in component_scale
    ]
    return (torch.softmax(component_logits, -1) * torch.stack(parts)).sum()


def _logistic_normal(cost, loc, scale):
    z, weight = normal_grid(2)
    y = dist.transforms.StickBreakingTransform()(loc + scale * z)
    return (cost(y) * weight).sum()


def _student(cost, df, loc, factor):
    w, chance = log_chi2(df, 61)
    z, weight = normal_grid(2, 81)
    y = (z @ _lower(factor).mT) * (df / w.exp()).sqrt()[:, None, None]
    return chance @ (cost(loc + y) @ weight)


def _wishart(cost, df, factor):
    # Bartlett's factor: roots of Chi2 on the diagonal, a normal below it.
    u, first = log_chi2(df, 81)
    v, second = log_chi2(df - 1, 81)
    z, weight = normal_grid(1, 61)
    a, b, n = torch.meshgrid((u / 2).exp(), (v / 2).exp(), z[:, 0], indexing="ij")
    rows = [torch.stack([a, 0 * a], -1), torch.stack([n, b], -1)]
    root = _lower(factor) @ torch.stack(rows, -2)
    chance = torch.einsum("i,j,k->ijk", first, second, weight)
    return (cost(root @ root.mT) * chance).sum()


def _dirichlet(cost, concentration):
    u, weight = logistic_grid(401)
    one, two, three = concentration
    first, rest = torch.meshgrid(u, u, indexing="ij")
    x = torch.stack([first, (1 - first) * rest, (1 - first) * (1 - rest)], -1)
    chance = torch.outer(weight, weight) * torch.exp(
        (one - 1) * first.log()
        + (two + three - 1) * torch.log1p(-first)
        + (two - 1) * rest.log()
        + (three - 1) * torch.log1p(-rest)
    )
    return (cost(x) * chance).sum() / chance.sum()


def _relaxed_one_hot(cost, logits):
    g = torch.linspace(-4.0, 18.0, 97, dtype=torch.float64)
    chance = torch.exp(-g - torch.exp(-g))
    chance = torch.cartesian_prod(*[chance / chance.sum()] * 3).prod(-1)
    noise = torch.cartesian_prod(g, g, g)
    return (cost(torch.softmax((logits + noise) / 0.8, -1)) * chance).sum()


def _projected(cost, concentration):
    """Integrate over the sphere (Hernandez-Stumpfhauser et al. 2017, eq. 4)."""
    dim = len(concentration)
    points = {2: 400, 3: 60, 4: 28, 5: 16}[dim]
    nodes, width = (torch.as_tensor(v) for v in roots_legendre(points))
    axes, widths = [], []
    for k in range(dim - 2):
        polar = math.pi / 2 * (nodes + 1)
        axes.append(polar)
        widths.append(width * polar.sin() ** (dim - 2 - k))
    turn = 2 * math.pi * torch.arange(points) / points
    grid = torch.cartesian_prod(*axes, turn.double()).reshape(-1, dim - 1)
    area = torch.ones(1, dtype=torch.float64)
    for w in (*widths, torch.ones(points).double()):
        area = torch.outer(area, w).flatten()
    x, sine = [], torch.ones(len(grid), dtype=torch.float64)
    for angle in grid.T:
        x.append(sine * angle.cos())
        sine = sine * angle.sin()
    x = torch.stack([*x, sine], -1)
    t = x @ concentration
    # The integral of r^n exp(-(r - t)^2 / 2) over the ray, by parts.
    cdf = torch.special.ndtr(t) * math.sqrt(2 * math.pi)
    ray = [cdf, torch.exp(-0.5 * t * t) + t * cdf]
    for n in range(2, dim):
        ray.append(t * ray[n - 1] + (n - 1) * ray[n - 2])
    squared = concentration @ concentration
    chance = area * torch.exp(0.5 * t * t - 0.5 * squared) * ray[dim - 1]
    return (cost(x) * chance).sum() / chance.detach().sum()


def _hmm(transition, noise, loc):
    """A chain of three steps, seen with noise; its marginal law is a normal."""
    eye = torch.eye(1, dtype=torch.float64)
    return dist.GaussianHMM(
        dist.MultivariateNormal(loc.unsqueeze(-1), eye),
        transition.reshape(1, 1),
        dist.MultivariateNormal(torch.zeros(1).double(), 0.5 * eye),
        eye,
        dist.Normal(torch.zeros(1).double(), noise.unsqueeze(-1)).to_event(1),
        duration=3,
    )


def _linear_hmm(transition, noise, loc):
    eye = torch.eye(1, dtype=torch.float64)
    return dist.LinearHMM(
        dist.MultivariateNormal(loc.unsqueeze(-1), eye),
        transition.reshape(1, 1),
        dist.MultivariateNormal(torch.zeros(1).double(), 0.5 * eye),
        eye,
        dist.Normal(torch.zeros(1).double(), noise.unsqueeze(-1)).to_event(1),
        duration=3,
    )


def _hmm_truth(cost, transition, noise, loc):
    a = transition
    mean = torch.stack([a * loc, a**2 * loc, a**3 * loc])
    # z_t = a z_(t-1) + e_t: every z is a sum of the first state and the noises.
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    s = math.sqrt(0.5)
    states = torch.stack(
        [
            torch.stack([a, s * one, zero, zero]),
            torch.stack([a**2, s * a, s * one, zero]),
            torch.stack([a**3, s * a**2, s * a, s * one]),
        ]
    )
    covariance = states @ states.mT + noise**2 * torch.eye(3, dtype=torch.float64)
    factor = torch.linalg.cholesky(covariance)
    return of_normal(lambda x: cost(x.unsqueeze(-1)), mean, factor)


HMM = {"transition": 0.7, "noise": 0.8, "loc": 0.6}
MIXTURE = {
    "locs": [[0.6, -0.5], [-0.4, 0.8]],
    "coord_scale": [[0.5, 0.7], [0.8, 0.4]],
    "component_logits": [0.3, -0.2],
}
FACTOR = [0.9, 0.4, 0.7]
MULTIVARIATE = [
    Family(
        "Dirichlet",
        {"concentration": [1.6, 2.2, 1.3]},
        dist.Dirichlet,
        truth=integral(_dirichlet),
        width=0.25,
    ),
    Family(
        "Independent",
        {"loc": [0.3, -0.2], "scale": [0.7, 0.9]},
        lambda loc, scale: dist.Normal(loc, scale).to_event(1),
        note="Normal",
        truth=integral(lambda cost, loc, scale: of_normal(cost, loc, scale.diag())),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "MultivariateNormal",
        {"loc": [0.5, -0.3], "factor": FACTOR},
        lambda loc, factor: dist.MultivariateNormal(loc, scale_tril=_lower(factor)),
        note="scale_tril",
        truth=integral(lambda cost, loc, factor: of_normal(cost, loc, _lower(factor))),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "MultivariateNormal",
        {"loc": [0.5, -0.3], "factor": FACTOR},
        lambda loc, factor: dist.MultivariateNormal(
            loc, _lower(factor) @ _lower(factor).mT
        ),
        note="covariance_matrix",
        truth=integral(lambda cost, loc, factor: of_normal(cost, loc, _lower(factor))),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "MultivariateNormal",
        {"loc": [0.5, -0.3], "factor": FACTOR},
        lambda loc, factor: dist.MultivariateNormal(
            loc, precision_matrix=_lower(factor) @ _lower(factor).mT
        ),
        note="precision_matrix",
        truth=integral(
            lambda cost, loc, factor: of_normal(
                cost,
                loc,
                torch.linalg.cholesky((_lower(factor) @ _lower(factor).mT).inverse()),
            )
        ),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "NanMaskedMultivariateNormal",
        {"loc": [0.5, -0.3], "factor": FACTOR},
        lambda loc, factor: dist.NanMaskedMultivariateNormal(
            loc, scale_tril=_lower(factor)
        ),
        truth=integral(lambda cost, loc, factor: of_normal(cost, loc, _lower(factor))),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "OMTMultivariateNormal",
        {"loc": [0.5, -0.3], "factor": FACTOR},
        lambda loc, factor: dist.OMTMultivariateNormal(loc, _lower(factor)),
        truth=integral(lambda cost, loc, factor: of_normal(cost, loc, _lower(factor))),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "AVFMultivariateNormal",
        {
            "loc": [0.5, -0.3],
            "factor": FACTOR,
            "control_var": [[[0.2, 0.1]], [[0.3, -0.1]]],
        },
        lambda loc, factor, control_var: dist.AVFMultivariateNormal(
            loc, _lower(factor), control_var
        ),
        truth=integral(
            lambda cost, loc, factor, control_var: of_normal(cost, loc, _lower(factor))
        ),
        without_expectation=("control_var",),
        remark="its path's gradient for control_var is meant to be that of the "
        "gradient's variance",
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "LowRankMultivariateNormal",
        {"loc": [0.5, -0.3], "cov_factor": [[0.6], [0.4]], "cov_diag": [0.5, 0.8]},
        dist.LowRankMultivariateNormal,
        truth=integral(
            lambda cost, loc, cov_factor, cov_diag: of_normal(
                cost,
                loc,
                torch.linalg.cholesky(cov_factor @ cov_factor.mT + cov_diag.diag()),
            )
        ),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "MultivariateStudentT",
        {"df": 4.0, "loc": [0.5, -0.3], "factor": FACTOR},
        lambda df, loc, factor: dist.MultivariateStudentT(df, loc, _lower(factor)),
        truth=integral(_student),
        centre=-1.0,
        width=0.25,
    ),
    Family(
        "LogisticNormal",
        {"loc": [0.3, -0.2], "scale": [0.7, 0.9]},
        dist.LogisticNormal,
        truth=integral(_logistic_normal),
        centre=0.2,
        width=0.25,
    ),
    Family(
        "RelaxedOneHotCategorical",
        {"logits": [0.4, 0.1, -0.3]},
        lambda logits: dist.RelaxedOneHotCategorical(_tensor(0.8), logits=logits),
        truth=integral(_relaxed_one_hot),
        centre=0.7,
        width=0.5,
    ),
    Family(
        "RelaxedOneHotCategoricalStraightThrough",
        {"logits": [0.4, 0.1, -0.3]},
        lambda logits: dist.RelaxedOneHotCategoricalStraightThrough(
            _tensor(0.8), logits=logits
        ),
        truth=integral(
            lambda cost, logits: (
                torch.softmax(logits, -1) * cost(torch.eye(3).double())
            ).sum()
        ),
        width=0.3,
    ),
    Family(
        "OneHotCategoricalStraightThrough",
        {"logits": [0.4, 0.1, -0.3]},
        lambda logits: dist.OneHotCategoricalStraightThrough(logits=logits),
        truth=integral(
            lambda cost, logits: (
                torch.softmax(logits, -1) * cost(torch.eye(3).double())
            ).sum()
        ),
        width=2.0,
    ),
    Family(
        "MixtureOfDiagNormals",
        MIXTURE,
        dist.MixtureOfDiagNormals,
        truth=integral(_mixture),
        centre=3.0,
        width=0.25,
    ),
    Family(
        "MixtureOfDiagNormals",
        {k: v for k, v in MIXTURE.items() if k != "component_logits"},
        lambda locs, coord_scale: dist.MixtureOfDiagNormals(
            locs, coord_scale, _tensor([0.3, -0.2])
        ),
        note="component_logits held",
        truth=integral(
            lambda cost, locs, coord_scale: _mixture(
                cost, locs, coord_scale, _tensor([0.3, -0.2])
            )
        ),
        centre=3.0,
        width=0.25,
    ),
    Family(
        "MixtureOfDiagNormalsSharedCovariance",
        {**MIXTURE, "coord_scale": [0.5, 0.7]},
        dist.MixtureOfDiagNormalsSharedCovariance,
        truth=integral(_mixture),
        centre=1.4,
        width=0.5,
    ),
    Family(
        "GaussianScaleMixture",
        {
            "coord_scale": [0.6, 0.9],
            "component_logits": [0.3, -0.2],
            "component_scale": [0.6, 1.5],
        },
        dist.GaussianScaleMixture,
        truth=integral(_scale_mixture),
        centre=0.7,
        width=0.5,
    ),
    Family(
        "GaussianScaleMixture",
        {
            "coord_scale": [0.6, 0.9, 0.7],
            "component_logits": [0.3, -0.2],
            "component_scale": [0.6, 1.5],
        },
        dist.GaussianScaleMixture,
        note="three dimensions",
        truth=integral(_scale_mixture),
        width=0.5,
    ),
    Family(
        "ProjectedNormal",
        {"concentration": [0.8, -0.5]},
        dist.ProjectedNormal,
        note="two dimensions",
        truth=integral(_projected),
        centre=0.7,
        width=0.25,
    ),
    Family(
        "ProjectedNormal",
        {"concentration": [0.8, -0.5, 0.4]},
        dist.ProjectedNormal,
        note="three dimensions",
        truth=integral(_projected),
        width=0.25,
    ),
    Family(
        "ProjectedNormal",
        {"concentration": [0.8, -0.5, 0.4, 0.2]},
        dist.ProjectedNormal,
        note="four dimensions",
        truth=integral(_projected),
        centre=0.7,
        width=0.5,
    ),
    Family(
        "ProjectedNormal",
        {"concentration": [0.8, -0.5, 0.4, 0.2, 0.1]},
        dist.ProjectedNormal,
        note="five dimensions",
        truth=integral(_projected),
        centre=1.0,
    ),
    Family(
        "Wishart",
        {"df": 4.0, "factor": [0.6, 0.3, 0.5]},
        lambda df, factor: dist.Wishart(df, scale_tril=_lower(factor)),
        note="scale_tril",
        truth=integral(_wishart),
        centre=1.4,
        width=0.25,
    ),
    Family(
        "Wishart",
        {"df": 4.0, "factor": [0.6, 0.3, 0.5]},
        lambda df, factor: dist.Wishart(
            df, covariance_matrix=_lower(factor) @ _lower(factor).mT
        ),
        note="covariance_matrix",
        truth=integral(_wishart),
        centre=1.4,
        width=0.25,
    ),
    Family(
        "GaussianHMM", HMM, _hmm, truth=integral(_hmm_truth), centre=1.4, width=0.25
    ),
    Family(
        "LinearHMM",
        HMM,
        _linear_hmm,
        truth=integral(_hmm_truth),
        centre=-1.0,
        width=2.0,
    ),
    Family(
        "IndependentHMM",
        HMM,
        lambda transition, noise, loc: dist.IndependentHMM(
            _hmm(transition, noise, loc).expand([1])
        ),
        truth=integral(_hmm_truth),
        centre=1.4,
        width=0.25,
    ),
    Family(
        "Delta",
        {"v": 0.7},
        dist.Delta,
        truth=integral(lambda cost, v: cost(v)),
        centre=-1.0,
        width=0.25,
    ),
]
