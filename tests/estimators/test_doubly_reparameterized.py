"""Sticking the landing: no noise where the guide is the posterior, no bias elsewhere.

On bounds that join their particles it is DReG: tests/infer/test_importance.py.
"""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from tests.statistics import assert_mean, flat_gradient, gradients, parameter

X, NOISE = 1.2, 0.5
# z ~ N(0, 1) and x ~ N(z, 0.5): the posterior has precision 5 and mean 4 x / 5.
MEAN, SCALE = 4 * X / 5, 5**-0.5


def model():
    zero = torch.zeros((), dtype=torch.float64)
    z = pyro.sample("z", dist.Normal(zero, 1.0))
    pyro.sample("x", dist.Normal(z, NOISE), obs=zero + X)


def loss_of(loc, log_scale, estimator, particles):
    def guide():
        pyro.sample("z", dist.Normal(loc, log_scale.exp()))

    elbo = pg.ELBO(
        num_particles=particles,
        vectorize_particles=particles > 1,
        max_plate_nesting=0,
        estimators=estimator,
    )
    return lambda: elbo.differentiable_loss(model, guide)


@pytest.mark.parametrize("particles", [1, 7])
def test_every_gradient_is_zero_where_the_guide_is_the_posterior(particles):
    loc, log_scale = parameter(MEAN), parameter(SCALE).log().detach().requires_grad_()
    torch.manual_seed(0)
    for name, zero in (("doubly_reparameterized", True), ("reparameterized", False)):
        loss = loss_of(loc, log_scale, name, particles)
        for _ in range(20):
            found = flat_gradient(loss(), [loc, log_scale])
            largest = found.abs().max().item()
            assert largest < 1e-13 if zero else largest > 1e-3


def test_elsewhere_its_mean_is_the_gradient():
    """By loc: 5 loc - 4 x; by log scale: 5 scale^2 - 1."""
    loc, log_scale = parameter(0.2), parameter(0.1)
    found = gradients(
        loss_of(loc, log_scale, "doubly_reparameterized", 200),
        [loc, log_scale],
        600,
    )
    exact = torch.stack([5 * loc - 4 * X, 5 * (2 * log_scale).exp() - 1])
    assert_mean(found, exact)
