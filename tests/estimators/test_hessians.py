"""Second derivatives of estimators that promise them, against exact ones."""

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from tests.statistics import assert_mean, hessian, parameter, per_sample_hessian


def exact_hessian(value, parameters):
    return hessian(value, parameters).detach()


@pytest.mark.parametrize("baseline", [None, "leave_one_out", torch.tensor(2.0)])
def test_one_site_whose_cost_has_parameters(baseline):
    logit, weight = parameter(0.4), parameter(0.8)
    estimator = pg.estimator("score_function", baseline=baseline)
    found = per_sample_hessian(
        lambda logit, w: pg.expectation(
            lambda b: (w * b + 1) ** 3,
            dist.Bernoulli(logits=logit),
            estimator=estimator,
            num_samples=4,
        ),
        [logit, weight],
        300_000,
    )
    p = torch.sigmoid(logit)
    assert_mean(found, exact_hessian(p * (weight + 1) ** 3 + 1 - p, [logit, weight]))


@pytest.mark.parametrize("name", ["score_function", "reparameterized"])
def test_a_normal_against_its_closed_form(name):
    mu, s = parameter(0.6), parameter(0.9)
    found = per_sample_hessian(
        lambda mu, s: pg.expectation(
            lambda x: (x - 1) ** 2,
            dist.Normal(mu, s),
            estimator=name,
            num_samples=8,
        ),
        [mu, s],
        400_000,
    )
    assert_mean(found, torch.tensor([2.0, 0.0, 0.0, 2.0]))


@pytest.mark.parametrize("kept", [0, 1])
def test_batch_elements_that_the_cost_joins(kept):
    mu, n = parameter(0.6, -0.8), 400_000
    copies = mu.detach().expand(n, 2).clone().requires_grad_()
    torch.manual_seed(0)
    law = dist.Normal(copies.t() if kept else copies, 1.0)
    if kept:  # batch (2, n): the cost has summed over the leading dimension
        loss = pg.expectation(
            lambda x: x[:, 0] * x[:, 1] + x[:, 0],
            law,
            estimator="score_function",
            num_samples=2,
        )
    else:  # one event per replicate, as a check of the same problem without sharing
        loss = pg.expectation(
            lambda x: x[..., 0] * x[..., 1] + x[..., 0],
            law.to_event(1),
            estimator="score_function",
            num_samples=2,
        )
    (first,) = torch.autograd.grad(loss.sum(), copies, create_graph=True)
    rows = [
        torch.autograd.grad(first[:, i].sum(), copies, retain_graph=True)[0]
        for i in range(2)
    ]
    assert_mean(torch.cat(rows, -1), torch.tensor([0.0, 1.0, 1.0, 0.0]))


def test_enumeration_is_exact():
    logits, w = parameter(0.3, -0.2, 0.9), parameter(1.4)
    value = pg.expectation(
        lambda x: (w * x) ** 2, dist.Categorical(logits=logits), estimator="enumerate"
    )
    p = torch.softmax(logits, -1)
    want = (p * (w * torch.arange(3)) ** 2).sum()
    torch.testing.assert_close(
        hessian(value, [logits, w]), exact_hessian(want, [logits, w])
    )


OBSERVED = torch.tensor(1.2, dtype=torch.float64)
LOGITS = {"a": 0.3, "b": -0.5, "link": 0.7}


def model():
    a = pyro.sample("a", dist.Bernoulli(torch.tensor(0.4).double()))
    b = pyro.sample("b", dist.Bernoulli(logits=a - 0.5))
    pyro.sample("x", dist.Normal(a + 1.5 * b, 1.0), obs=OBSERVED)


def logits_of(name, a=None):
    start = {k: torch.tensor(v).double() for k, v in LOGITS.items()}
    if name == "a":
        return pyro.param("a_logit", start["a"])
    link = pyro.param("link", start["link"])
    return pyro.param("b_logit", start["b"]) + link * a


def guide():
    a = pyro.sample("a", dist.Bernoulli(logits=logits_of("a")))
    pyro.sample("b", dist.Bernoulli(logits=logits_of("b", a)))


def exact_loss():
    total = 0.0
    for a, b in itertools.product(torch.tensor([0.0, 1.0]).double(), repeat=2):
        qa = dist.Bernoulli(logits=logits_of("a")).log_prob(a)
        qb = dist.Bernoulli(logits=logits_of("b", a)).log_prob(b)
        p = (
            dist.Bernoulli(torch.tensor(0.4).double()).log_prob(a)
            + dist.Bernoulli(logits=a - 0.5).log_prob(b)
            + dist.Normal(a + 1.5 * b, 1.0).log_prob(OBSERVED)
        )
        total = total + (qa + qb).exp() * (qa + qb - p)
    return total


def elbo_hessians(guide, estimators, repeats=60, particles=4000):
    guide()
    leaves = list(pyro.get_param_store()._params.values())
    elbo = pg.ELBO(
        estimators=estimators,
        num_particles=particles,
        vectorize_particles=True,
        max_plate_nesting=0,
    )
    torch.manual_seed(0)
    found = [
        hessian(elbo.differentiable_loss(model, guide), leaves).reshape(-1)
        for _ in range(repeats)
    ]
    return torch.stack(found), exact_hessian(exact_loss(), leaves).reshape(-1)


@pytest.mark.parametrize(
    "estimators",
    [
        "score_function",
        pg.estimator("score_function", baseline=None),
        {"a": "score_function", "b": "enumerate"},
        {"a": "enumerate", "b": "score_function"},
    ],
    ids=["leave one out", "none", "outer", "inner"],
)
def test_two_nested_sites_of_an_elbo_that_drops_its_own_scores(estimators):
    found, exact = elbo_hessians(guide, estimators)
    assert_mean(found, exact)


def test_own_scores_behind_a_mask():
    def masked_guide():
        with pyro.poutine.scale(scale=1.0):
            a = pyro.sample("a", dist.Bernoulli(logits=logits_of("a")).mask(True))
        pyro.sample("b", dist.Bernoulli(logits=logits_of("b", a)))

    found, exact = elbo_hessians(masked_guide, "score_function", repeats=40)
    assert_mean(found, exact)


def test_a_cost_shared_by_a_plate():
    mu = parameter(0.6, -0.8)

    def program():
        with pyro.plate("N", 2):
            x = pyro.sample("x", dist.Normal(mu, 1.0))
        pg.cost("product", x[..., :1] * x[..., 1:])

    objective = pg.ExpectedCost(
        estimators="score_function", num_particles=4000, max_plate_nesting=1
    )
    torch.manual_seed(0)
    found = torch.stack(
        [hessian(objective(program), [mu]).reshape(-1) for _ in range(60)]
    )
    assert_mean(found, torch.tensor([0.0, 1.0, 1.0, 0.0]))
