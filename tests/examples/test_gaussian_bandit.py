"""The closed forms of the example against integrals."""

import math

import pytest
from scipy.integrate import quad

from tests.examples.loading import load

bandit = load("gaussian_bandit")
SIGMA = 0.5


def moment(function, power):
    """E[function(x)^power] of x ~ Normal(0, SIGMA)."""

    def integrand(e):
        density = math.exp(-(e**2) / 2) / math.sqrt(2 * math.pi)
        return function(SIGMA * e) ** power * density

    return quad(integrand, -12, 12, limit=2000, epsabs=1e-11)[0]


@pytest.mark.parametrize("wiggle", [0.125, 0.5, 1.0, 2.0, 8.0])
def test_mean_and_variance_of_both_gradients(wiggle):
    k = wiggle / SIGMA
    forms = {
        bandit.score_variance: lambda x: math.sin(k * x) * x / SIGMA**2,
        bandit.path_variance: lambda x: k * math.cos(k * x),
    }
    for variance, gradient in forms.items():
        mean = moment(gradient, 1)
        assert bandit.exact_gradient(wiggle, SIGMA) == pytest.approx(mean, abs=1e-9)
        found = moment(gradient, 2) - mean**2
        assert variance(wiggle, SIGMA) == pytest.approx(found, rel=1e-6, abs=1e-9)


def test_no_constant_baseline_helps_the_score_function():
    """The best one is E[f s^2] / E[s^2]: zero for an odd cost at mean zero."""
    for k in (0.25, 2.0, 16.0):
        assert abs(moment(lambda x, k=k: math.sin(k * x) * x**2, 1)) < 1e-9


def test_the_variances_cross_near_one():
    at = bandit.crossing()
    assert 0.9 < at < 1.3
    path, score = bandit.path_variance, bandit.score_variance
    assert path(at, 1.0) == pytest.approx(score(at, 1.0))
    assert path(at / 2, 1.0) < score(at / 2, 1.0)
    assert path(at * 2, 1.0) > score(at * 2, 1.0)
