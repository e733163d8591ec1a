"""Variances against closed forms: the couplings are what they are said to be.

Each estimate of a variance takes 40,000 draws, so its standard error is about one
percent of it (kurtosis included, below four); a tolerance of 6% fails falsely with
probability below 1e-6 and sees a 10% error.
"""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Exponential, Gamma, Normal, Poisson

import pgplugins as pg

N = 40_000


def gradients(make, value, cost, estimator):
    """N independent one-draw gradients for a parameter, side by side."""
    torch.manual_seed(0)
    parameter = torch.full((N,), value, dtype=torch.float64, requires_grad=True)
    chosen = pg.estimator(estimator) if isinstance(estimator, str) else estimator
    loss = pg.expectation(cost, make(parameter), estimator=chosen)
    return torch.autograd.grad(loss.sum(), parameter)[0]


def about(found, variance, mean):
    assert found.var().item() == pytest.approx(variance, rel=0.06)
    error = math.sqrt(variance / N)
    assert abs(found.mean().item() - mean) <= 5 * error + 1e-12


@pytest.mark.parametrize("theta", [0.2, 0.5, 0.85])
def test_disarm(theta):
    t = 0.3
    q, d = theta * (1 - theta), 1 - 2 * t
    found = gradients(
        lambda logits: Bernoulli(logits=logits),
        math.log(theta / (1 - theta)),
        lambda b: (b - t) ** 2,
        "disarm",
    )
    about(found, q * d**2 * (max(theta, 1 - theta) / 2 - q), q * d)


D, S = 0.9, 1.4  # distance of the mean from the cost's minimum, and the scale


def test_measure_valued_mean():
    found = gradients(lambda m: Normal(m, S), D, lambda x: x**2, "measure_valued")
    about(found, 4 * D**2 * (4 / math.pi - 1), 2 * D)


def test_measure_valued_scale():
    found = gradients(lambda s: Normal(D, s), S, lambda x: x**2, "measure_valued")
    about(found, 4 * D**2 + 4 * S**2, 2 * S)


def test_measure_valued_exponential():
    """c (f(x) - f(x + e / r)) on f = x is -e / r^2: mean -1 / r^2, variance 1 / r^4."""
    r = 1.7
    found = gradients(lambda r: Exponential(r), r, lambda x: x, "measure_valued")
    about(found, 1 / r**4, -1 / r**2)


def test_measure_valued_gamma():
    a, r = 2.5, 1.7
    found = gradients(lambda r: Gamma(a, r), r, lambda x: x, "measure_valued")
    about(found, (a / r**2) ** 2, -a / r**2)


@pytest.mark.parametrize("estimator", ["measure_valued", "finite_difference"])
def test_poisson(estimator):
    """f(X + 1) - f(X) on f = x^2 is 2 X + 1: variance 4 r."""
    found = gradients(lambda r: Poisson(r), 2.3, lambda x: x**2, estimator)
    about(found, 4 * 2.3, 2 * 2.3 + 1)


def test_antithetic():
    """On (x - k)^2 the mean's gradient is exact, the scale's has half the variance."""
    found = gradients(lambda m: Normal(m, S), D, lambda x: x**2, "antithetic")
    torch.testing.assert_close(found, torch.full_like(found, 2 * D))
    found = gradients(lambda s: Normal(D, s), S, lambda x: x**2, "antithetic")
    # 2 (D + S e) e averaged over +-e is 2 S e^2, of variance 8 S^2.
    about(found, 8 * S**2, 2 * S)


def test_reinmax_is_exact_for_quadratic_costs():
    """In the mean, at temperature 1; straight-through is not."""
    theta = 0.8
    logit = math.log(theta / (1 - theta))

    def cost(b):
        return (b - 0.3) ** 2 + b

    exact = theta * (1 - theta) * (cost(1.0) - cost(0.0))
    found = gradients(lambda logits: Bernoulli(logits=logits), logit, cost, "reinmax")
    error = found.std().item() / math.sqrt(N)
    assert abs(found.mean().item() - exact) < 5 * error < 0.02 * exact
    for biased in ("straight_through", "gumbel_softmax"):
        found = gradients(lambda logits: Bernoulli(logits=logits), logit, cost, biased)
        error = found.std().item() / math.sqrt(N)
        assert abs(found.mean().item() - exact) > 8 * error
