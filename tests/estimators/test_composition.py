"""Estimators compose: sites with rows above, below and beside one another."""

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from tests.statistics import assert_mean, flat_gradient, gradients, parameter

NAMES = ["enumerate", "score_function", "loo"]


def estimator(name):
    if name == "loo":
        return pg.estimator("score_function", baseline="leave_one_out")
    return name


def two_sites(logits, weight):
    def program():
        a = pyro.sample("a", dist.Bernoulli(logits=logits[0]))
        with pyro.plate("N", 2):
            b = pyro.sample("b", dist.Bernoulli(logits=logits[1:3] + 2 * a))
            pg.cost("plated", (b - 0.3 + weight * a) ** 2)
        pg.cost("global", 2 * a * weight)

    return program


def exact_two_sites(logits, weight):
    total = 0.0
    for a, b0, b1 in itertools.product(torch.tensor([0.0, 1.0]).double(), repeat=3):
        b = torch.stack([b0, b1])
        log_prob = dist.Bernoulli(logits=logits[0]).log_prob(a)
        inner = dist.Bernoulli(logits=logits[1:3] + 2 * a).log_prob(b).sum()
        cost = ((b - 0.3 + weight * a) ** 2).sum() + 2 * a * weight
        total = total + (log_prob + inner).exp() * cost
    return total


@pytest.mark.parametrize("second", NAMES)
@pytest.mark.parametrize("first", NAMES)
def test_a_global_site_above_a_plated_one(first, second):
    leaves = [parameter(0.2, -0.5, 0.4), parameter(0.8)]
    exact = flat_gradient(exact_two_sites(*leaves), leaves)
    objective = pg.ExpectedCost(
        estimators={"a": estimator(first), "b": estimator(second)},
        num_particles=4000,
        max_plate_nesting=1,
    )
    program = two_sites(*leaves)
    repeats = 3 if first == second == "enumerate" else 60
    found = gradients(lambda: objective(program), leaves, repeats)
    if repeats == 3:
        torch.testing.assert_close(found, exact.expand_as(found))
    assert_mean(found, exact)


@pytest.mark.parametrize("particles", [1, 500])
@pytest.mark.parametrize("name", ["reparameterized", "score_function", "hybrid", "lax"])
def test_a_site_with_the_rows_of_an_enumerated_parent(name, particles):
    logits, mu = parameter(0.3, -0.2, 0.9), parameter(0.5, 1.5)
    shift = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64)

    def program():
        k = pyro.sample("k", dist.Categorical(logits=logits))
        with pyro.plate("N", 2):
            x = pyro.sample("x", dist.Normal(mu * (1 + k) + shift[k], 1.0))
            pg.cost("c", (x - 1) ** 2 + shift[k] * x)

    k = torch.arange(3).unsqueeze(-1)
    mean = mu * (1 + k) + shift.unsqueeze(-1)
    given = ((mean - 1) ** 2 + 1 + shift.unsqueeze(-1) * mean).sum(-1)
    leaves = [logits, mu]
    exact = flat_gradient((torch.softmax(logits, -1) * given).sum(), leaves)
    objective = pg.ExpectedCost(
        estimators={"k": "enumerate", "x": name},
        num_particles=particles,
        max_plate_nesting=1,
    )
    found = gradients(lambda: objective(program), leaves, 300 if particles > 1 else 900)
    assert_mean(found, exact, power=particles > 1)


@pytest.mark.parametrize("above", ["reparameterized", "hybrid", "lax"])
@pytest.mark.parametrize("name", ["enumerate", "score_function"])
def test_a_discrete_site_below_a_continuous_one(name, above):
    mu, s = parameter(0.4), parameter(0.7)

    def program():
        x = pyro.sample("x", dist.Normal(mu, s))
        b = pyro.sample("b", dist.Bernoulli(logits=2 * x))
        pg.cost("c", (3 * b - x) ** 2)

    z = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    density = dist.Normal(torch.zeros(()).double(), 1.0).log_prob(z).exp()
    x = mu + s * z
    p = torch.sigmoid(2 * x)
    value = torch.trapezoid(density * (p * (3 - x) ** 2 + (1 - p) * x**2), z)
    exact = flat_gradient(value, [mu, s])
    objective = pg.ExpectedCost(
        estimators={"x": above, "b": name},
        num_particles=4000,
        max_plate_nesting=0,
    )
    found = gradients(lambda: objective(program), [mu, s], 80)
    assert_mean(found, exact)


@pytest.mark.parametrize("name", ["reparameterized", "score_function", "hybrid", "lax"])
def test_a_site_beside_an_enumerated_one(name):
    # The cost has the rows of k, each with a weight of its own, but x has not.
    logits, mu = parameter(0.3, -1.2, 1.4), parameter(0.5)
    shift = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64)

    def program():
        k = pyro.sample("k", dist.Categorical(logits=logits))
        x = pyro.sample("x", dist.Normal(mu, 1.0))
        pg.cost("c", (x - shift[k]) ** 3 + x)

    d = mu - shift
    given = d**3 + 3 * d + mu
    leaves = [logits, mu]
    exact = flat_gradient((torch.softmax(logits, -1) * given).sum(), leaves)

    def repeated(name):
        objective = pg.ExpectedCost(
            estimators={"k": "enumerate", "x": name},
            num_particles=200,
            max_plate_nesting=0,
        )
        return gradients(lambda: objective(program), leaves, 400)

    found = repeated(name)
    assert_mean(found, exact)
    if name == "hybrid":
        path = repeated("reparameterized")
        assert found[50:, -1].var() < 0.25 * path[50:, -1].var()


def test_two_enumerated_sites_in_one_plate_and_one_outside():
    logits = parameter(0.3, -0.2, 0.9)

    def program():
        a = pyro.sample("a", dist.Bernoulli(logits=logits[0]))
        with pyro.plate("N", 2):
            b = pyro.sample("b", dist.Bernoulli(logits=logits[1:] + a))
            c = pyro.sample("c", dist.Bernoulli(logits=logits[1:] * b - a))
            pg.cost("cost", (a + 2 * b - 3 * c) ** 2)

    total = 0.0
    zero_one = torch.tensor([0.0, 1.0]).double()
    for a, b, c in itertools.product(zero_one, repeat=3):
        first = dist.Bernoulli(logits=logits[0]).log_prob(a)
        rest = dist.Bernoulli(logits=logits[1:] + a).log_prob(b) + dist.Bernoulli(
            logits=logits[1:] * b - a
        ).log_prob(c)
        total = total + ((first + rest).exp() * (a + 2 * b - 3 * c) ** 2).sum()
    loss = pg.ExpectedCost(estimators="enumerate", max_plate_nesting=1)(program)
    torch.testing.assert_close(loss, total)
    torch.testing.assert_close(
        flat_gradient(loss, [logits]), flat_gradient(total, [logits])
    )


def test_a_value_is_detached_for_its_own_score_and_attached_for_its_parents():
    mu = parameter(0.5)
    seen = {}

    def program():
        x = pyro.sample("x", dist.Normal(mu, 1.0))
        y = pyro.sample("y", dist.Normal(2 * x, 1.0))
        seen.update(x=x, y=y)
        pg.cost("c", (y - 1) ** 2)

    objective = pg.ExpectedCost(
        estimators={
            "x": "reparameterized",
            "y": pg.estimator("score_function", baseline=None),
        }
    )
    (got,) = torch.autograd.grad(objective(program), mu)
    x, y = (torch.as_tensor(seen[k].detach()).as_subclass(torch.Tensor) for k in "xy")
    # The whole gradient is the score of y, which reaches mu through x.
    torch.testing.assert_close(got, (y - 1) ** 2 * (y - 2 * x) * 2)
