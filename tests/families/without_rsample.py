"""Distributions without rsample: counts, choices, directions and densities alone."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pyro.distributions as dist
import torch
from scipy import special, stats

from tests.families.family import Family
from tests.families.truth import integral, mass


def _tensor(x):
    return torch.tensor(x, dtype=torch.float64)


def _bernoulli(probs):
    return lambda k: np.where(k == 0, 1 - probs, np.where(k == 1, probs, 0.0))


def _softmax(logits):
    return lambda k: _padded(special.softmax(logits), k)


def _padded(weights, points):
    return np.concatenate([weights, np.zeros(len(points) - len(weights))])


def _beta_binomial(concentration1, concentration0):
    return stats.betabinom(5, concentration1, concentration0)


def _negative_binomial(probs):
    return stats.nbinom(4.0, 1 - probs)


def _gamma_poisson(concentration, rate):
    return stats.nbinom(concentration, rate / (rate + 1))


def _zero_inflated(law):
    def inflated(gate, **parameters):
        base = law(**parameters)
        return lambda k: gate * (k == 0) + (1 - gate) * base.pmf(k)

    return inflated


def _ordered(predictor, cutpoints):
    ends = special.expit(np.concatenate([cutpoints - predictor, [np.inf]]))
    weights = np.diff(np.concatenate([[0.0], ends]))
    return lambda k: _padded(weights, k)


def _points(law, support):
    """Sum over a support that is written out, with log-densities written out."""

    def expected(cost, **parameters):
        return (torch.softmax(law(support, **parameters), 0) * cost(support)).sum()

    return integral(expected)


def _counts(total, kinds):
    rows = torch.cartesian_prod(*[torch.arange(total + 1)] * kinds)
    return rows[rows.sum(-1) == total].double()


def _multinomial(counts, logits):
    choices = -torch.lgamma(counts + 1).sum(-1)
    return choices + counts @ torch.log_softmax(logits, -1)


def _dirichlet_multinomial(counts, concentration):
    choices = -torch.lgamma(counts + 1).sum(-1)
    return choices + (torch.lgamma(counts + concentration)).sum(-1)


def _matching(values, logits):
    return logits[torch.arange(3), values].sum(-1)


PERMUTATIONS = torch.tensor(
    [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
)
PAIRS = torch.tensor(
    [[0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 1, 0], [1, 1, 0, 0]]
)


def _pairing(values, logits):
    return logits[torch.arange(4), values].sum(-1)


def _discrete_hmm(initial_logits, transition_logits):
    return dist.DiscreteHMM(
        initial_logits,
        transition_logits,
        dist.Normal(_tensor([-0.5, 1.0]), _tensor(0.3)),
        duration=2,
    )


def _discrete_hmm_truth(cost, initial_logits, transition_logits):
    # Pyro draws the first state before the first transition.
    first = torch.softmax(initial_logits, -1)
    step = torch.softmax(transition_logits, -1)
    chance = torch.einsum("i,ij,jk->jk", first, step, step)
    z = torch.linspace(-7, 7, 301, dtype=torch.float64)
    weight = torch.exp(-0.5 * z * z) / torch.exp(-0.5 * z * z).sum()
    total = torch.zeros((), dtype=torch.float64)
    for j, a in enumerate((-0.5, 1.0)):
        for k, b in enumerate((-0.5, 1.0)):
            pair = torch.cartesian_prod(a + 0.3 * z, b + 0.3 * z).unsqueeze(-1)
            both = torch.outer(weight, weight).flatten()
            total = total + chance[j, k] * (cost(pair.squeeze(-1)) * both).sum()
    return total


def _torus(points=240):
    angle = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    line = (2 * angle - 1) * math.pi
    return torch.cartesian_prod(line, line)


def _von_mises(cost, loc, concentration):
    angle = ((torch.arange(2000) + 0.5).double() / 1000 - 1) * math.pi
    weight = torch.softmax(concentration * torch.cos(angle - loc), 0)
    return (cost(angle) * weight).sum()


def _sine_bivariate(x, phi_loc, psi_loc, phi_concentration, psi_concentration):
    a, b = x[:, 0] - phi_loc, x[:, 1] - psi_loc
    return (
        phi_concentration * a.cos()
        + psi_concentration * b.cos()
        + 0.4 * a.sin() * b.sin()
    )


def _sine_skewed(x, loc, skewness):
    a = x - loc
    bend = torch.log1p((skewness * a.sin()).sum(-1))
    return (_tensor([1.3, 0.8]) * a.cos()).sum(-1) + bend


def _correlations(points=4000):
    """Correlations of two variables, on a grid as fine as the ends need."""
    t = (torch.arange(points, dtype=torch.float64) + 0.5) / points * math.pi
    return -torch.cos(t), torch.sin(t) * math.pi / points


def _lkj(cost, concentration, cholesky):
    r, width = _correlations()
    one, zero = torch.ones_like(r), torch.zeros_like(r)
    if cholesky:
        rows = [[one, zero], [r, (1 - r * r).sqrt()]]
    else:
        rows = [[one, r], [r, one]]
    x = torch.stack([torch.stack(row, -1) for row in rows], -2)
    weight = torch.exp((concentration - 1) * torch.log1p(-r * r)) * width
    return (cost(x) * weight).sum() / weight.sum()


def _deprecated_lkj(concentration):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dist.LKJCorrCholesky(2, concentration)


def _normal_mixture(cost, loc):
    z = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    weight = torch.exp(-0.5 * z * z)
    weight = weight / weight.sum()
    low, high = (cost(m + 0.5 * z) @ weight for m in loc)
    return 0.3 * low + 0.7 * high


def _polya_gamma(prototype):
    return dist.TruncatedPolyaGamma(prototype)


def _improper(loc):
    return dist.ImproperUniform(dist.constraints.real, loc.shape, ())


def _coalescent(rate):
    return dist.CoalescentTimes(_tensor([0.0, 0.0]), rate)


def _grouped(prior_loc):
    return dist.GroupedNormalNormal(
        prior_loc,
        torch.ones(2).double(),
        torch.ones(3).double(),
        torch.tensor([0, 1, 1]),
    )


def _gaussian_mrf(loc):
    eye = torch.eye(2, dtype=torch.float64)
    mvn = dist.MultivariateNormal
    return dist.GaussianMRF(
        mvn(loc, torch.eye(1).double()),
        mvn(torch.zeros(2).double(), eye).expand([3]),
        mvn(torch.zeros(2).double(), eye).expand([3]),
    )


def _gamma_gaussian_hmm(loc):
    eye = torch.eye(1, dtype=torch.float64)
    normal = dist.MultivariateNormal(torch.zeros(1).double(), eye)
    return dist.GammaGaussianHMM(
        dist.Gamma(_tensor(2.0), _tensor(1.0)),
        dist.MultivariateNormal(loc, eye),
        eye,
        normal,
        eye,
        normal,
        duration=3,
    )


LOGITS = [0.4, 0.1, -0.3]
WITHOUT_RSAMPLE = [
    Family("Bernoulli", {"probs": 0.3}, dist.Bernoulli, truth=mass(_bernoulli)),
    Family(
        "Binomial",
        {"probs": 0.3},
        lambda probs: dist.Binomial(5, probs),
        truth=mass(lambda probs: stats.binom(5, probs)),
        centre=1.5,
    ),
    Family(
        "ExtendedBinomial",
        {"probs": 0.3},
        lambda probs: dist.ExtendedBinomial(_tensor(5.0), probs),
        truth=mass(lambda probs: stats.binom(5, probs)),
        centre=1.5,
    ),
    Family(
        "BetaBinomial",
        {"concentration1": 1.5, "concentration0": 2.0},
        lambda **p: dist.BetaBinomial(**p, total_count=5),
        truth=mass(_beta_binomial),
        centre=2.0,
    ),
    Family(
        "ExtendedBetaBinomial",
        {"concentration1": 1.5, "concentration0": 2.0},
        lambda **p: dist.ExtendedBetaBinomial(**p, total_count=_tensor(5.0)),
        truth=mass(_beta_binomial),
        centre=2.0,
    ),
    Family(
        "Geometric",
        {"probs": 0.4},
        dist.Geometric,
        truth=mass(lambda probs: stats.geom(probs, loc=-1)),
        centre=1.0,
    ),
    Family(
        "Poisson",
        {"rate": 1.6},
        dist.Poisson,
        truth=mass(lambda rate: stats.poisson(rate)),
        centre=1.5,
    ),
    Family(
        "NegativeBinomial",
        {"probs": 0.3},
        lambda probs: dist.NegativeBinomial(_tensor(4.0), probs),
        truth=mass(_negative_binomial),
        centre=1.5,
    ),
    Family(
        "GammaPoisson",
        {"concentration": 2.0, "rate": 1.2},
        dist.GammaPoisson,
        truth=mass(_gamma_poisson),
        centre=1.5,
    ),
    Family(
        "ZeroInflatedPoisson",
        {"rate": 1.8, "gate": 0.3},
        lambda rate, gate: dist.ZeroInflatedPoisson(rate, gate=gate),
        truth=mass(_zero_inflated(lambda rate: stats.poisson(rate))),
        centre=1.0,
    ),
    Family(
        "ZeroInflatedNegativeBinomial",
        {"probs": 0.4, "gate": 0.3},
        lambda probs, gate: dist.ZeroInflatedNegativeBinomial(
            _tensor(4.0), probs=probs, gate=gate
        ),
        truth=mass(_zero_inflated(_negative_binomial)),
        centre=1.0,
    ),
    Family(
        "ZeroInflatedDistribution",
        {"probs": 0.5, "gate": 0.3},
        lambda probs, gate: dist.ZeroInflatedDistribution(
            dist.Binomial(5, probs), gate=gate
        ),
        truth=mass(_zero_inflated(lambda probs: stats.binom(5, probs))),
        centre=1.0,
    ),
    Family(
        "Categorical",
        {"logits": LOGITS},
        lambda logits: dist.Categorical(logits=logits),
        truth=mass(_softmax),
    ),
    Family(
        "OrderedLogistic",
        {"predictor": 0.3, "cutpoints": [-0.5, 0.9]},
        dist.OrderedLogistic,
        truth=mass(_ordered),
    ),
    Family(
        "OneHotCategorical",
        {"logits": LOGITS},
        lambda logits: dist.OneHotCategorical(logits=logits),
        truth=_points(lambda x, logits: x @ logits, torch.eye(3).double()),
    ),
    Family(
        "Multinomial",
        {"logits": LOGITS},
        lambda logits: dist.Multinomial(4, logits=logits),
        truth=_points(_multinomial, _counts(4, 3)),
        centre=1.5,
    ),
    Family(
        "DirichletMultinomial",
        {"concentration": [1.5, 2.0, 1.0]},
        lambda concentration: dist.DirichletMultinomial(concentration, 4),
        truth=_points(_dirichlet_multinomial, _counts(4, 3)),
        centre=1.5,
    ),
    Family(
        "OneOneMatching",
        {"logits": [[0.3, -0.2, 0.5], [0.1, 0.4, -0.6], [0.2, 0.0, 0.7]]},
        dist.OneOneMatching,
        truth=_points(_matching, PERMUTATIONS),
    ),
    Family(
        "OneTwoMatching",
        {"logits": [[0.3, -0.2], [0.1, 0.4], [0.2, 0.0], [-0.5, 0.6]]},
        dist.OneTwoMatching,
        truth=_points(_pairing, PAIRS),
        width=0.5,
    ),
    Family(
        "MixtureSameFamily",
        {"loc": [-0.5, 0.9]},
        lambda loc: dist.MixtureSameFamily(
            dist.Categorical(_tensor([0.3, 0.7])), dist.Normal(loc, _tensor(0.5))
        ),
        truth=integral(_normal_mixture),
    ),
    Family(
        "DiscreteHMM",
        {"initial_logits": [0.3, -0.4], "transition_logits": [[0.7, -0.2], [0.1, 0.5]]},
        _discrete_hmm,
        truth=integral(_discrete_hmm_truth),
    ),
    Family(
        "VonMises",
        {"loc": 0.4, "concentration": 1.5},
        dist.VonMises,
        truth=integral(_von_mises),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "SineBivariateVonMises",
        {
            "phi_loc": 0.4,
            "psi_loc": -0.3,
            "phi_concentration": 1.6,
            "psi_concentration": 1.2,
        },
        lambda **p: dist.SineBivariateVonMises(**p, correlation=_tensor(0.4)),
        truth=_points(_sine_bivariate, _torus()),
        centre=1.4,
        width=0.25,
        slow=True,
    ),
    Family(
        "SineSkewed",
        {"loc": [0.4, -0.3], "skewness": [0.3, -0.4]},
        lambda loc, skewness: dist.SineSkewed(
            dist.VonMises(loc, _tensor([1.3, 0.8])).to_event(1), skewness
        ),
        truth=_points(_sine_skewed, _torus()),
    ),
    Family(
        "LKJCholesky",
        {"concentration": 1.6},
        lambda concentration: dist.LKJCholesky(2, concentration),
        truth=integral(lambda cost, concentration: _lkj(cost, concentration, True)),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "LKJCorrCholesky",
        {"concentration": 1.6},
        _deprecated_lkj,
        truth=integral(lambda cost, concentration: _lkj(cost, concentration, True)),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "LKJ",
        {"concentration": 1.6},
        lambda concentration: dist.LKJ(2, concentration),
        truth=integral(lambda cost, concentration: _lkj(cost, concentration, False)),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "SpanningTree",
        {"edge_logits": [0.3, -0.2, 0.5]},
        dist.SpanningTree,
        remark="a program without particles side by side can draw it, approximately",
    ),
    Family(
        "Empirical",
        {"log_weights": LOGITS},
        lambda log_weights: dist.Empirical(_tensor([0.0, 1.0, 2.0]), log_weights),
        truth=mass(lambda log_weights: _softmax(log_weights)),
    ),
    Family(
        "TruncatedPolyaGamma",
        {"prototype": 1.0},
        _polya_gamma,
        remark="it has no parameters",
    ),
    Family("CoalescentTimes", {"rate": 1.5}, _coalescent),
    Family(
        "CoalescentTimesWithRate",
        {"rate_grid": [1.0, 1.5]},
        lambda rate_grid: dist.CoalescentTimesWithRate(_tensor([0.0, 0.0]), rate_grid),
    ),
    Family("GammaGaussianHMM", {"loc": [0.3]}, _gamma_gaussian_hmm),
    Family("GaussianMRF", {"loc": [0.3]}, _gaussian_mrf),
    Family("GroupedNormalNormal", {"prior_loc": [0.3, 0.4]}, _grouped),
    Family("ImproperUniform", {"loc": 0.3}, _improper),
    Family(
        "LogNormalNegativeBinomial",
        {"logits": 0.3, "multiplicative_noise_scale": 0.5},
        lambda logits, multiplicative_noise_scale: dist.LogNormalNegativeBinomial(
            _tensor(3.0), logits, multiplicative_noise_scale
        ),
    ),
    Family("VonMises3D", {"concentration": [0.3, 0.4, 0.5]}, dist.VonMises3D),
    Family("Unit", {"log_factor": 0.3}, dist.Unit),
]
