"""Transforms with a cache know the value that they returned (pytorch#59822).

A score taken through the cache is the derivative along the path: -0.500, not 0.687.
"""

import pyro.distributions as dist
import pytest
import torch
from torch.distributions import transforms

import pgplugins as pg
from tests.statistics import assert_mean, flat_gradient, gradients, parameter


def law(mu, cache):
    return dist.TransformedDistribution(
        dist.Normal(mu, 0.8), [transforms.ExpTransform(cache_size=cache)]
    )


def cost(y):
    return torch.log1p(y) ** 2


def exact(mu):
    """Quadrature over the Normal: log1p(exp(z))^2."""
    z = torch.linspace(-10, 10, 40_001, dtype=torch.float64)
    density = torch.distributions.Normal(mu, 0.8).log_prob(z).exp()
    value = torch.trapezoid(density * torch.log1p(z.exp()) ** 2, z)
    return torch.autograd.grad(value, mu)[0]


@pytest.mark.parametrize("name", ["score_function", "reparameterized", "hybrid"])
def test_the_mean_gradient(name):
    mu = parameter(0.3)
    estimator = pg.estimator(name)
    found = gradients(
        lambda: pg.expectation(cost, law(mu, 1), estimator=estimator, num_samples=256),
        [mu],
        400,
    )
    assert_mean(found, exact(mu))


@pytest.mark.parametrize("name", ["score_function", "reparameterized", "hybrid"])
def test_a_cache_changes_no_gradient(name):
    mu = parameter(0.3)

    def gradient(cache):
        torch.manual_seed(2)
        estimator = pg.estimator(name)
        return [
            flat_gradient(
                pg.expectation(
                    cost, law(mu, cache), estimator=estimator, num_samples=9
                ),
                [mu],
            )
            for _ in range(6)
        ]

    torch.testing.assert_close(gradient(1), gradient(0))
