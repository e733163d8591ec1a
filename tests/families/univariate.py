"""Distributions of one real variable."""

from __future__ import annotations

import math

import numpy as np
import pyro.distributions as dist
import torch
from scipy import stats

from tests.families.family import Family
from tests.families.truth import density, integral, logistic_grid, uniform_grid


class _Frozen:
    """Quantiles and density given as functions, where scipy has no such law."""

    def __init__(self, pdf, ppf):
        self.pdf, self.ppf = pdf, ppf

    def isf(self, q):
        return self.ppf(1 - np.asarray(q))


def _kumaraswamy(concentration1, concentration0):
    a, b = concentration1, concentration0
    return _Frozen(
        lambda x: a * b * x ** (a - 1) * (1 - x**a) ** (b - 1),
        lambda q: (1 - (1 - np.asarray(q)) ** (1 / b)) ** (1 / a),
    )


def _continuous_bernoulli(probs):
    rate = math.log(probs / (1 - probs))
    if abs(rate) < 1e-9:
        return stats.uniform()
    return _Frozen(
        lambda x: rate * np.exp(rate * x) / math.expm1(rate),
        lambda q: np.log1p(np.asarray(q) * math.expm1(rate)) / rate,
    )


def _asymmetric_laplace(loc, scale, asymmetry):
    return stats.laplace_asymmetric(kappa=asymmetry, loc=loc, scale=scale)


def _soft_laplace(loc, scale):
    return stats.hypsecant(loc, scale)


def _soft_asymmetric_laplace(cost, loc, scale, asymmetry, softness):
    # loc + softness * Normal - left * Exponential + right * Exponential, where the last
    # two together are the mixture of a left and a right exponential.
    u = uniform_grid(4000)
    z = torch.special.ndtri(uniform_grid(400)).unsqueeze(-1)
    left, right = scale * asymmetry, scale / asymmetry
    middle = loc + scale * softness * z
    # Tails are cut into cells of equal mass; the error falls with their number squared.
    down = cost(middle + left * torch.log(u)).mean()
    up = cost(middle - right * torch.log(u)).mean()
    return (left * down + right * up) / (left + right)


def _relaxed_bernoulli(cost, logits):
    u = uniform_grid()
    return cost(torch.sigmoid((logits + torch.logit(u)) / 0.8)).mean()


def _stable(coords):
    def expected(cost, stability, skew, scale, loc):
        # Chambers, Mallows and Stuck 1976, as Weron 1996 corrects it.
        u, first = logistic_grid(801)
        w = torch.linspace(-30.0, 5.0, 401, dtype=torch.float64)
        second = torch.softmax(w - w.exp(), 0)
        angle = (math.pi * (u - 0.5)).unsqueeze(-1)
        tangent = skew * torch.tan(math.pi / 2 * stability)
        turned = stability * angle + torch.atan(tangent)
        z = (
            (1 + tangent**2) ** (0.5 / stability)
            * torch.sin(turned)
            / torch.cos(angle) ** (1 / stability)
            * (torch.cos(angle - turned) / w.exp()) ** (1 / stability - 1)
        )
        if coords == "S0":
            z = z - tangent
        return first @ (cost(loc + scale * z) @ second)

    return expected


def _tensor(x):
    return torch.tensor(x, dtype=torch.float64)


LOC_SCALE = {"loc": 0.3, "scale": 0.8}
UNIVARIATE = [
    Family(
        "Normal",
        LOC_SCALE,
        dist.Normal,
        truth=density(stats.norm),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "LogNormal",
        {"loc": 0.1, "scale": 0.5},
        dist.LogNormal,
        truth=density(lambda loc, scale: stats.lognorm(scale, scale=math.exp(loc))),
        centre=2.0,
        width=0.25,
    ),
    Family(
        "Laplace",
        LOC_SCALE,
        dist.Laplace,
        truth=density(stats.laplace),
        centre=1.0,
        width=0.25,
    ),
    Family(
        "Cauchy",
        LOC_SCALE,
        dist.Cauchy,
        truth=density(stats.cauchy),
        centre=1.0,
        width=0.25,
    ),
    Family(
        "HalfCauchy",
        {"scale": 0.6},
        dist.HalfCauchy,
        truth=density(stats.halfcauchy),
        centre=0.7,
        width=0.25,
    ),
    Family(
        "HalfNormal",
        {"scale": 0.8},
        dist.HalfNormal,
        truth=density(stats.halfnorm),
        centre=0.7,
        width=0.25,
    ),
    Family(
        "StudentT",
        {"df": 3.0, "loc": 0.3, "scale": 0.7},
        dist.StudentT,
        truth=density(stats.t),
        centre=-1.0,
        width=0.25,
    ),
    Family(
        "Gumbel",
        {"loc": 0.2, "scale": 0.6},
        dist.Gumbel,
        truth=density(stats.gumbel_r),
        centre=1.0,
        width=0.25,
    ),
    Family(
        "Exponential",
        {"rate": 1.3},
        dist.Exponential,
        truth=density(lambda rate: stats.expon(scale=1 / rate)),
        width=0.25,
    ),
    Family(
        "Gamma",
        {"concentration": 1.8, "rate": 1.2},
        dist.Gamma,
        truth=density(
            lambda concentration, rate: stats.gamma(concentration, scale=1 / rate)
        ),
        centre=1.0,
        width=0.25,
    ),
    Family(
        "Gamma",
        {"concentration": 0.3, "rate": 1.2},
        dist.Gamma,
        note="concentration below 1",
        truth=density(
            lambda concentration, rate: stats.gamma(concentration, scale=1 / rate)
        ),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "InverseGamma",
        {"concentration": 4.0, "rate": 1.2},
        dist.InverseGamma,
        truth=density(
            lambda concentration, rate: stats.invgamma(concentration, scale=rate)
        ),
        width=0.25,
    ),
    Family(
        "Chi2",
        {"df": 3.3},
        dist.Chi2,
        truth=density(stats.chi2),
        centre=3.0,
        width=0.25,
    ),
    Family(
        "Beta",
        {"concentration1": 1.7, "concentration0": 2.2},
        dist.Beta,
        truth=density(
            lambda concentration1, concentration0: stats.beta(
                concentration1, concentration0
            )
        ),
        width=0.25,
    ),
    Family(
        "FisherSnedecor",
        {"df1": 4.5, "df2": 9.0},
        dist.FisherSnedecor,
        truth=density(lambda df1, df2: stats.f(df1, df2)),
        centre=3.0,
        width=0.5,
    ),
    Family(
        "Weibull",
        {"scale": 1.2, "concentration": 1.8},
        dist.Weibull,
        truth=density(
            lambda scale, concentration: stats.weibull_min(concentration, scale=scale)
        ),
        centre=0.7,
        width=0.25,
    ),
    Family(
        "Kumaraswamy",
        {"concentration1": 1.6, "concentration0": 2.0},
        dist.Kumaraswamy,
        truth=density(_kumaraswamy),
        width=0.25,
    ),
    Family(
        "Logistic",
        {"loc": 0.2, "scale": 0.6},
        dist.Logistic,
        truth=density(stats.logistic),
        centre=1.0,
        width=0.25,
    ),
    Family(
        "SkewLogistic",
        {"loc": 0.2, "scale": 0.6, "asymmetry": 1.3},
        dist.SkewLogistic,
        truth=density(
            lambda loc, scale, asymmetry: stats.genlogistic(
                asymmetry, loc=loc, scale=scale
            )
        ),
        centre=1.0,
        width=0.25,
    ),
    Family(
        "SoftLaplace",
        {"loc": 0.2, "scale": 0.6},
        dist.SoftLaplace,
        truth=density(_soft_laplace),
        centre=1.0,
        width=0.25,
    ),
    Family(
        "AsymmetricLaplace",
        {"loc": 0.2, "scale": 0.6, "asymmetry": 1.2},
        dist.AsymmetricLaplace,
        truth=density(_asymmetric_laplace),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "SoftAsymmetricLaplace",
        {"loc": 0.2, "scale": 0.6, "asymmetry": 1.2, "softness": 0.7},
        dist.SoftAsymmetricLaplace,
        truth=integral(_soft_asymmetric_laplace),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "ContinuousBernoulli",
        {"probs": 0.3},
        dist.ContinuousBernoulli,
        note="probs",
        truth=density(_continuous_bernoulli),
        width=0.25,
    ),
    Family(
        "ContinuousBernoulli",
        {"logits": 0.8},
        lambda logits: dist.ContinuousBernoulli(logits=logits),
        note="logits",
        truth=density(
            lambda logits: _continuous_bernoulli(1 / (1 + math.exp(-logits)))
        ),
        centre=0.7,
        width=0.25,
    ),
    Family(
        "ContinuousBernoulli",
        {"logits": 0.0},
        lambda logits: dist.ContinuousBernoulli(logits=logits),
        note="probs near 0.5",
        truth=density(
            lambda logits: _continuous_bernoulli(1 / (1 + math.exp(-logits)))
        ),
        width=0.25,
    ),
    Family(
        "Uniform",
        {"low": -0.5, "high": 1.2},
        dist.Uniform,
        truth=density(lambda low, high: stats.uniform(low, high - low)),
    ),
    Family(
        "Pareto",
        {"scale": 0.6, "alpha": 3.0},
        dist.Pareto,
        truth=density(lambda scale, alpha: stats.pareto(alpha, scale=scale)),
        centre=0.2,
        width=0.5,
    ),
    Family(
        "Pareto",
        {"alpha": 3.0},
        lambda alpha: dist.Pareto(_tensor(0.6), alpha),
        note="alpha alone",
        truth=density(lambda alpha: stats.pareto(alpha, scale=0.6)),
        centre=0.7,
        width=0.25,
    ),
    Family(
        "GeneralizedPareto",
        {"loc": 0.1, "scale": 0.7, "concentration": 0.2},
        dist.GeneralizedPareto,
        truth=density(
            lambda loc, scale, concentration: stats.genpareto(
                concentration, loc=loc, scale=scale
            )
        ),
        width=0.5,
        dtype=torch.float32,
    ),
    Family(
        "GeneralizedPareto",
        {"scale": 0.7, "concentration": 0.2},
        lambda scale, concentration: dist.GeneralizedPareto(
            torch.tensor(0.1), scale, concentration
        ),
        note="scale and concentration",
        truth=density(
            lambda scale, concentration: stats.genpareto(
                concentration, loc=0.1, scale=scale
            )
        ),
        centre=0.2,
        width=0.5,
        dtype=torch.float32,
    ),
    Family(
        "GeneralizedPareto",
        {"scale": 0.7, "concentration": -0.3},
        lambda scale, concentration: dist.GeneralizedPareto(
            torch.tensor(0.1), scale, concentration
        ),
        note="concentration below 0",
        truth=density(
            lambda scale, concentration: stats.genpareto(
                concentration, loc=0.1, scale=scale
            )
        ),
        centre=0.0,
        width=0.5,
        dtype=torch.float32,
    ),
    Family(
        "GeneralizedPareto",
        {"scale": 0.7, "concentration": 0.0},
        lambda scale, concentration: dist.GeneralizedPareto(
            torch.tensor(0.1), scale, concentration
        ),
        note="concentration 0",
        truth=density(
            lambda scale, concentration: stats.genpareto(
                concentration, loc=0.1, scale=scale
            )
        ),
        centre=1.5,
        dtype=torch.float32,
    ),
    Family(
        "AffineBeta",
        {"concentration1": 1.7, "concentration0": 2.2, "loc": -0.5, "scale": 2.0},
        dist.AffineBeta,
        truth=density(
            lambda concentration1, concentration0, loc, scale: stats.beta(
                concentration1, concentration0, loc=loc, scale=scale
            )
        ),
        centre=0.0,
        width=2.0,
    ),
    Family(
        "AffineBeta",
        {"concentration1": 1.7, "concentration0": 2.2},
        lambda concentration1, concentration0: dist.AffineBeta(
            concentration1, concentration0, _tensor(-0.5), _tensor(2.0)
        ),
        note="concentrations",
        truth=density(
            lambda concentration1, concentration0: stats.beta(
                concentration1, concentration0, loc=-0.5, scale=2.0
            )
        ),
        width=0.25,
    ),
    Family(
        "RelaxedBernoulli",
        {"logits": 0.4},
        lambda logits: dist.RelaxedBernoulli(_tensor(0.8), logits=logits),
        truth=integral(_relaxed_bernoulli),
        centre=0.7,
        width=0.25,
    ),
    Family(
        "RelaxedBernoulliStraightThrough",
        {"logits": 0.4},
        lambda logits: dist.RelaxedBernoulliStraightThrough(
            _tensor(0.8), logits=logits
        ),
        truth=integral(
            lambda cost, logits: (
                torch.sigmoid(logits) * cost(_tensor(1.0))
                + torch.sigmoid(-logits) * cost(_tensor(0.0))
            )
        ),
        width=0.3,
    ),
    Family(
        "Stable",
        {"stability": 1.6, "skew": 0.3, "scale": 0.7, "loc": 0.2},
        dist.Stable,
        truth=integral(_stable("S0")),
        centre=2.0,
        width=0.25,
        slow=True,
        remark="the score is off by up to 1% (Pyro's quadrature)",
    ),
    Family(
        "Stable",
        {"stability": 1.4, "skew": 0.3, "scale": 0.7, "loc": 0.2},
        lambda **p: dist.Stable(**p, coords="S"),
        note='coords="S"',
        truth=integral(_stable("S")),
        centre=-0.5,
    ),
    Family(
        "Stable",
        {"stability": 1.005, "skew": 0.3, "scale": 0.7, "loc": 0.2},
        dist.Stable,
        note="stability near 1",
        truth=integral(_stable("S0")),
        centre=3.0,
        width=0.5,
    ),
    Family(
        "StableWithLogProb",
        {"stability": 1.4, "skew": -0.3, "scale": 0.7, "loc": 0.2},
        dist.StableWithLogProb,
        truth=integral(_stable("S0")),
        centre=-1.5,
        width=0.25,
        slow=True,
        remark="the score is off by up to 1% (Pyro's quadrature)",
    ),
    Family(
        "NanMaskedNormal",
        LOC_SCALE,
        dist.NanMaskedNormal,
        truth=density(stats.norm),
        centre=-0.4,
        width=0.25,
    ),
]
