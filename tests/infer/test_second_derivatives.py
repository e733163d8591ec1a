"""``differentiable_loss`` may be differentiated twice: the exact Hessian is its mean.

The terms of later sites reach earlier ones through the fold, and that only second
derivatives (and estimators that look at gradients) can see.
"""

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from tests.infer.same import plain_score
from tests.infer.scripted import Coin, exact_loss, parameters, paths

values = torch.tensor([0.3, -1.2, 2.0, 0.7, -0.4], dtype=torch.float64)


def model():
    a = pyro.sample("a", dist.Bernoulli(0.4))
    with pyro.plate("N", 2):
        b = pyro.sample("b", dist.Bernoulli(0.2 + 0.5 * a))
        pyro.sample("x", dist.Normal(a + 2 * b, 1.0), obs=values[:2])


def guide():
    p = pyro.param("p", values.clone())
    a = pyro.sample("a", Coin(logits=p[0]))
    with pyro.plate("N", 2):
        pyro.sample("b", Coin(logits=p[1:3] + (p[3] + p[4] * p[0]) * a))


def hessian(loss):
    (p,) = parameters()
    (gradient,) = torch.autograd.grad(loss, p, create_graph=True)
    rows = [torch.autograd.grad(g, p, retain_graph=True)[0] for g in gradient]
    return torch.stack(rows)


MIXES = list(itertools.product(["enumerate", "score"], repeat=2))


@pytest.mark.parametrize("dependencies", ["provenance", "plates"])
@pytest.mark.parametrize("mix", MIXES, ids="-".join)
def test_hessians(mix, dependencies):
    chosen = [plain_score() if m == "score" else m for m in mix]
    elbo = pg.ELBO(
        estimators=dict(zip("ab", chosen, strict=True)),
        max_plate_nesting=1,
        dependencies=dependencies,
    )
    guide()
    wanted = hessian(exact_loss(model, guide))
    found = sum(
        probability * result
        for probability, result in paths(
            lambda: hessian(elbo.differentiable_loss(model, guide))
        )
    )
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert wanted.abs().max() > 0.1


FIRST_ONLY = ["disarm", "rebar", "relax", "measure_valued", "unordered_set", "auto"]


def through_elbo(name, theta):
    def model():
        pyro.sample("z", dist.Bernoulli(0.4))

    def guide():
        pyro.sample("z", dist.Bernoulli(logits=theta**2))

    return pg.ELBO(estimators=name).differentiable_loss(model, guide)


def through_cost(name, theta):
    def program():
        pg.cost("c", 3 * pyro.sample("z", dist.Bernoulli(logits=theta**2)))

    return pg.ExpectedCost(estimators=name, num_particles=3)(program)


def through_expectation(name, theta):
    law = dist.Bernoulli(logits=theta**2)
    return pg.expectation(lambda z: 3 * z, law, estimator=name, num_samples=3)


@pytest.mark.parametrize("front", [through_elbo, through_cost, through_expectation])
@pytest.mark.parametrize("name", FIRST_ONLY)
def test_what_has_first_derivatives_only_refuses_a_second(name, front):
    """A parameter that is a function of another would get a part of it, in silence."""
    theta = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    (once,) = torch.autograd.grad(front(name, theta), theta)
    assert not once.requires_grad
    with pytest.raises(pg.PgpluginsError, match=rf"'{name}'.*order.*score_function"):
        torch.autograd.grad(front(name, theta), theta, create_graph=True)


@pytest.mark.parametrize("front", [through_elbo, through_cost, through_expectation])
@pytest.mark.parametrize("name", ["enumerate", "score_function", "sum_and_sample"])
def test_what_has_derivatives_of_any_order_does_not(name, front):
    theta = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    (once,) = torch.autograd.grad(front(name, theta), theta, create_graph=True)
    assert once.requires_grad
