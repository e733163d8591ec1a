"""The hybrid serves every family with rsample: unbiased, no worse than pathwise."""

import math

import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from tests.statistics import assert_mean, parameter

BATCH, CALLS = 32, 300
QUADRATIC = torch.tensor([[1.0, 0.6], [0.6, 2.0]], dtype=torch.float64)


def form(x):
    return ((x @ QUADRATIC) * x).sum(-1)


def factor(p):
    """A Cholesky factor per batch element, from two parameters."""
    eye = torch.eye(2, dtype=torch.float64)
    return torch.linalg.cholesky(eye + p.unsqueeze(-1) * p.unsqueeze(-2))


def quadrature(f, transform, p):
    """E f(transform(z)) for z ~ N(p_0, exp(p_1)^2)."""
    z = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    density = torch.distributions.Normal(p[0], p[1].exp()).log_prob(z).exp()
    return torch.trapezoid(density * f(transform(z)), z)


def dirichlet_mean(p):
    a, weights = p.exp(), torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    total = a.sum()
    return (weights * a * (a + 1)).sum() / (total * (total + 1))


# name -> (parameters, law of a batch of them, cost, exact expectation)
FAMILIES = {
    "Normal": (
        (0.4, -0.2),
        lambda p: dist.Normal(p[..., 0], p[..., 1].exp()),
        lambda x: x**3,
        lambda p: p[0] ** 3 + 3 * p[0] * (2 * p[1]).exp(),
    ),
    "to_event": (
        (0.4, -0.9),
        lambda p: dist.Normal(p, 0.7).to_event(1),
        form,
        lambda p: form(p) + 0.49 * QUADRATIC.trace(),
    ),
    "MultivariateNormal": (
        (0.5, -0.3),
        lambda p: dist.MultivariateNormal(p, scale_tril=factor(p)),
        form,
        lambda p: form(p) + QUADRATIC.trace() + form(p),
    ),
    "MultivariateNormal(covariance)": (
        (0.5, -0.3),
        lambda p: dist.MultivariateNormal(p, factor(p) @ factor(p).mT),
        form,
        lambda p: form(p) + QUADRATIC.trace() + form(p),
    ),
    "LowRankMultivariateNormal": (
        (0.5, -0.3),
        lambda p: dist.LowRankMultivariateNormal(
            p, p.unsqueeze(-1), torch.ones_like(p)
        ),
        form,
        lambda p: form(p) + QUADRATIC.trace() + form(p),
    ),
    "LogNormal": (
        (0.1, -1.2),
        lambda p: dist.LogNormal(p[..., 0], p[..., 1].exp()),
        lambda x: x**2,
        lambda p: (2 * p[0] + 2 * (2 * p[1]).exp()).exp(),
    ),
    "Gamma": (
        (0.9, 0.3),
        lambda p: dist.Gamma(p[..., 0].exp(), p[..., 1].exp()),
        lambda x: x**2,
        lambda p: p[0].exp() * (p[0].exp() + 1) / (2 * p[1]).exp(),
    ),
    "Beta": (
        (0.6, 0.9),
        lambda p: dist.Beta(p[..., 0].exp(), p[..., 1].exp()),
        lambda x: x**2,
        lambda p: (
            p[0].exp()
            * (p[0].exp() + 1)
            / ((p[0].exp() + p[1].exp()) * (p[0].exp() + p[1].exp() + 1))
        ),
    ),
    "Dirichlet": (
        (0.5, 0.8, 0.3),
        lambda p: dist.Dirichlet(p.exp()),
        lambda x: x**2 @ torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64),
        dirichlet_mean,
    ),
    "TransformedDistribution": (
        (0.3, -0.4),
        lambda p: dist.TransformedDistribution(
            dist.Normal(p[..., 0], p[..., 1].exp()), [dist.transforms.TanhTransform()]
        ),
        lambda x: (x + 0.5) ** 2,
        lambda p: quadrature(lambda x: (x + 0.5) ** 2, torch.tanh, p),
    ),
    "Gumbel": (
        (0.2, -0.5),
        lambda p: dist.Gumbel(p[..., 0], p[..., 1].exp()),
        lambda x: x**2,
        lambda p: (
            (p[0] + 0.5772156649015329 * p[1].exp()) ** 2
            + math.pi**2 / 6 * (2 * p[1]).exp()
        ),
    ),
    "Weibull": (
        (0.2, 0.6),
        lambda p: dist.Weibull(p[..., 0].exp(), p[..., 1].exp()),
        lambda x: x**2,
        lambda p: (2 * p[0]).exp() * torch.lgamma(1 + 2 / p[1].exp()).exp(),
    ),
    "Kumaraswamy": (
        (0.4, 0.9),
        lambda p: dist.Kumaraswamy(p[..., 0].exp(), p[..., 1].exp()),
        lambda x: x**2,
        lambda p: (
            p[1]
            + torch.lgamma(1 + 2 / p[0].exp())
            + torch.lgamma(p[1].exp())
            - torch.lgamma(1 + 2 / p[0].exp() + p[1].exp())
        ).exp(),
    ),
    "MultivariateStudentT": (
        (0.5, -0.3),
        lambda p: dist.MultivariateStudentT(
            torch.tensor(9.0, dtype=torch.float64), p, factor(p)
        ),
        form,
        lambda p: form(p) + 9 / 7 * (QUADRATIC.trace() + form(p)),
    ),
    "RelaxedBernoulli": (
        (0.4,),
        lambda p: dist.RelaxedBernoulli(
            torch.tensor(0.8, dtype=torch.float64), logits=p[..., 0]
        ),
        lambda x: x,
        # The logit is (logit + Logistic) / temperature: integrate over the uniform.
        lambda p: torch.sigmoid(
            (p[0] + torch.logit((torch.arange(200_000) + 0.5).double() / 200_000)) / 0.8
        ).mean(),
    ),
}


def gradients(law, cost, start, estimator):
    torch.manual_seed(0)
    found = []
    for _ in range(CALLS):
        p = torch.tensor(start).double().expand(BATCH, -1).clone().requires_grad_()
        loss = pg.expectation(cost, law(p), estimator=estimator)
        found.append(torch.autograd.grad(loss.sum(), p)[0].mean(0))
    return torch.stack(found)


@pytest.mark.parametrize("name", FAMILIES)
def test_mean_and_variance(name):
    start, law, cost, exact = FAMILIES[name]
    p = parameter(list(start))
    truth = torch.autograd.grad(exact(p), p)[0]
    hybrid = gradients(law, cost, start, pg.estimator("hybrid"))
    path = gradients(law, cost, start, "reparameterized")
    assert_mean(path, truth, power=False)
    assert_mean(hybrid, truth, power=False)
    # A sum of all coordinates' errors of 10% has to be seen.
    error = (hybrid.var(0).sum() / CALLS).sqrt()
    assert 0.1 * truth.norm() > 4 * error
    ratio = hybrid[CALLS // 3 :].var(0).sum() / path[CALLS // 3 :].var(0).sum()
    assert ratio < 1.3


@pytest.mark.parametrize(
    "name",
    [
        "Normal",
        "to_event",
        "MultivariateNormal",
        "LogNormal",
        "TransformedDistribution",
        "Gumbel",
        "Weibull",
        "Kumaraswamy",
    ],
)
def test_it_pays(name):
    start, law, cost, _ = FAMILIES[name]
    hybrid = gradients(law, cost, start, pg.estimator("hybrid"))[CALLS // 3 :]
    path = gradients(law, cost, start, "reparameterized")[CALLS // 3 :]
    assert hybrid.var(0).sum() < 0.6 * path.var(0).sum()


def test_expand_after_construction_keeps_draws_apart():
    errors = []
    estimator = pg.estimator("hybrid")
    torch.manual_seed(0)
    for _ in range(CALLS):
        p = parameter(0.4, -0.2)
        law = dist.Normal(p[0], p[1].exp()).expand([4]).to_event(1)
        loss = pg.expectation(
            lambda x: (x**3).mean(-1), law, estimator=estimator, num_samples=64
        )
        errors.append(torch.autograd.grad(loss, p)[0])
    p = parameter(0.4, -0.2)
    (truth,) = torch.autograd.grad(p[0] ** 3 + 3 * p[0] * (2 * p[1]).exp(), p)
    assert_mean(torch.stack(errors), truth)
