"""The pathwise estimator: closed-form moments, and the jump that biases it."""

import math

import pytest
import torch
from torch.distributions import Gamma, Normal

import pgplugins as pg
from tests.statistics import (
    assert_mean,
    assert_variance,
    flat_gradient,
    parameter,
    per_sample,
)

K, MU, S = 2.0, 0.7, 1.3
D = MU - K


def test_mean_and_variance_on_the_quadratic():
    found = per_sample(
        lambda mu, s: pg.expectation(
            lambda x: (x - K) ** 2, Normal(mu, s), estimator="reparameterized"
        ),
        [parameter(MU), parameter(S)],
        1_000_000,
    )
    assert_mean(found, torch.tensor([2 * D, 2 * S]))
    assert_variance(found, torch.tensor([4 * S**2, 4 * D**2 + 8 * S**2]))


def test_implicit_reparameterization():
    a, b = parameter(2.5), parameter(1.5)
    found = per_sample(
        lambda a, b: pg.expectation(
            lambda x: x**2, Gamma(a, b), estimator="reparameterized"
        ),
        [a, b],
        300_000,
    )
    # E x^2 = a (a + 1) / b^2
    exact = torch.tensor([(2 * 2.5 + 1) / 1.5**2, -2 * 2.5 * 3.5 / 1.5**3])
    assert_mean(found, exact)


def test_a_jump_biases_it_by_the_density_at_the_jump():
    mu, height, at = parameter(0.4), 3.0, 0.9
    found = per_sample(
        lambda mu: pg.expectation(
            lambda x: -(x**2) + height * (x > at), Normal(mu, 1.0), estimator="pathwise"
        ),
        [mu],
        400_000,
    )
    density = math.exp(-0.5 * (at - 0.4) ** 2) / math.sqrt(2 * math.pi)
    truth = -2 * 0.4 + height * density
    assert_mean(found, torch.tensor(truth - height * density))


def test_the_path_of_every_draw():
    mu, s = parameter(MU), parameter(S)
    drawn = []

    def cost(x):
        drawn.append(x.detach())
        return (x - K) ** 2

    loss = pg.expectation(cost, Normal(mu, s), estimator="reparam", num_samples=5)
    got = flat_gradient(loss, [mu, s])
    path = 2 * (drawn[0] - K)
    want = torch.stack([path.mean(), (path * (drawn[0] - MU) / S).mean()])
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("name", ["pathwise", "reparam"])
def test_aliases(name):
    assert pg.estimator(name).name == "reparameterized"
