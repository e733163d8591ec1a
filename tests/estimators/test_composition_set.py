"""One program of five sites under many choices of estimators, against its exact sum."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from tests.statistics import assert_mean, flat_gradient, gradients, parameter

POINTS = ["disarm", "rebar", "relax", "measure_valued", "sum_and_sample"]
POINTS += ["unordered_set", "enumerate", "score_function"]
NUMBERS = ["antithetic", "measure_valued", "hybrid", "lax", "reparameterized"]


def joint(a, b, x, c, w):
    return (x - a + w * b) ** 2 + 0.3 * b * c - 0.7 * b * x


def alone(a, n, c, w):
    return (a - 0.4) ** 2 * w + 0.5 * n * a - 0.2 * n * n + 0.3 * c * n


def program(la, lb, w, m, s, ln, lc):
    a = pyro.sample("a", dist.Bernoulli(logits=la))
    c = pyro.sample("c", dist.Categorical(logits=_tilted(lc, a))).double()
    n = pyro.sample("n", dist.Binomial(3, logits=ln + 0.5 * a))
    with pyro.plate("N", 2):
        b = pyro.sample("b", dist.Bernoulli(logits=lb + 0.6 * a - 0.2 * c))
        x = pyro.sample("x", dist.Normal(m + 0.5 * a + 0.3 * b, s))
        pg.cost("joint", joint(a, b, x, c, w))
    pg.cost("alone", alone(a, n, c, w))


def exact(la, lb, w, m, s, ln, lc):
    total = 0.0
    for a, c in itertools.product((0.0, 1.0), range(3)):
        a = torch.tensor(a, dtype=torch.float64)
        mass = dist.Bernoulli(logits=la).log_prob(a).exp()
        mass = mass * _tilted(lc, a).softmax(-1)[c]
        q = (ln + 0.5 * a).sigmoid()
        for n in range(4):
            ways = math.comb(3, n) * q**n * (1 - q) ** (3 - n)
            total = total + mass * ways * alone(a, n, c, w)
        ones = (lb + 0.6 * a - 0.2 * c).sigmoid()
        for b, p in ((0.0, 1 - ones), (1.0, ones)):
            mean = m + 0.5 * a + 0.3 * b
            total = total + (mass * p * (joint(a, b, mean, c, w) + s**2)).sum()
    return total


def _tilted(logits, a):
    return logits + torch.stack([0 * a, a, -a], -1)


@pytest.mark.parametrize("turn", range(len(POINTS)))
def test_five_sites(turn):
    """Every estimator stands above, between and below others once."""
    chosen = {
        "a": POINTS[turn],
        "b": POINTS[(3 * turn + 2) % 8],
        "c": POINTS[1:][(5 * turn + 1) % 7],
        "n": ["finite_difference", "enumerate", "score_function"][turn % 3],
        "x": NUMBERS[turn % 5],
    }
    leaves = [parameter(0.3), parameter(-0.4, 0.7), parameter(0.8)]
    leaves += [parameter(0.2, -0.5), parameter(0.9, 0.6), parameter(-0.2)]
    leaves += [parameter(0.1, 0.5, -0.3)]
    objective = pg.ExpectedCost(
        estimators=chosen, num_particles=200, max_plate_nesting=1
    )
    torch.manual_seed(turn)
    found = gradients(lambda: objective(program, *leaves), leaves, 60)
    assert_mean(found, flat_gradient(exact(*leaves), leaves))
