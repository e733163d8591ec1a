"""Closed-form divergences beside score sites, where they are right and only there."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from pgplugins.infer.analytic_kl import divergence
from tests.infer.scripted import Coin, exact, moments, parameters
from tests.statistics import gradients

data = torch.tensor([1.2, -0.4], dtype=torch.float64)


@torch.distributions.register_kl(Coin, Coin)
def _(p, q):
    return torch.distributions.kl_divergence(
        torch.distributions.Bernoulli(logits=p.logits),
        torch.distributions.Bernoulli(logits=q.logits),
    )


def two_coins():
    def model():
        a = pyro.sample("a", Coin(0.3))
        b = pyro.sample("b", Coin(0.2 + 0.5 * a))
        pyro.sample("x", dist.Normal(2 * b, 1.0), obs=data[0])

    def guide():
        w = pyro.param("w", torch.tensor([0.4, -0.3, 0.8]).double())
        a = pyro.sample("a", Coin(logits=w[0]))
        pyro.sample("b", Coin(logits=w[1] + w[2] * a))

    return model, guide


def the_other_way_round():
    """The model draws b from a, the guide a from b: p(b) depends on a's draw."""

    def model():
        a = pyro.sample("a", Coin(0.3))
        b = pyro.sample("b", Coin(0.2 + 0.5 * a))
        pyro.sample("x", dist.Normal(2 * b, 1.0), obs=data[0])

    def guide():
        w = pyro.param("w", torch.tensor([0.4, -0.3, 0.8]).double())
        b = pyro.sample("b", Coin(logits=w[0]))
        pyro.sample("a", Coin(logits=w[1] + w[2] * b))

    return model, guide


def plated():
    def model():
        with pyro.plate("data", 2):
            z = pyro.sample("z", Coin(torch.tensor(0.3)))
            pyro.sample("x", dist.Normal(2 * z, 1.0), obs=data)

    def guide():
        logits = pyro.param("l", torch.tensor([0.4, -0.9]).double())
        with pyro.plate("data", 2), pyro.poutine.scale(scale=3.0):
            pyro.sample("z", Coin(logits=logits))

    return pyro.poutine.scale(model, scale=2.0), guide


def start(program):
    model, guide = program()
    pyro.clear_param_store()
    guide()
    return model, guide


def masked_differently():
    """Of the first coin the prior counts, of the second its own log q."""
    first = torch.tensor([True, False])

    def model():
        with pyro.plate("data", 2):
            z = pyro.sample("z", Coin(torch.tensor(0.3)).mask(first))
            pyro.sample("x", dist.Normal(2 * z, 1.0), obs=data)

    def guide():
        logits = pyro.param("l", torch.tensor([0.4, -0.9]).double())
        with pyro.plate("data", 2):
            pyro.sample("z", Coin(logits=logits).mask(~first))

    return model, guide


@pytest.mark.parametrize(
    "program", [two_coins, the_other_way_round, plated, masked_differently]
)
@pytest.mark.parametrize("dependencies", ["provenance", "plates"])
def test_the_mean_stays_exact(program, dependencies):
    pair = start(program)
    elbo = pg.ELBO(
        estimators="score_function",
        max_plate_nesting=1,
        dependencies=dependencies,
        analytic_kl=True,
    )
    want, loss = exact(*pair)
    found = moments(elbo, *pair)
    torch.testing.assert_close(found.mean, want)
    assert found.loss == pytest.approx(loss)


def test_what_has_a_closed_form_has_no_noise():
    def model():
        pyro.sample("z", dist.Bernoulli(0.3))
        pyro.sample("w", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))

    def guide():
        logit = pyro.param("l", torch.tensor(0.4).double())
        m = pyro.param("m", torch.tensor([0.5, -1.0]).double())
        pyro.sample("z", dist.Bernoulli(logits=logit))
        pyro.sample("w", dist.Normal(m, 0.8).to_event(1))

    pyro.clear_param_store()
    guide()
    logit, m = parameters()
    law = dist.Bernoulli(logits=logit)
    kl = torch.distributions.kl_divergence(law, dist.Bernoulli(0.3))
    want = torch.stack([torch.autograd.grad(kl, logit)[0], *m.detach()])
    elbo = pg.ELBO(estimators={"z": "score_function"}, analytic_kl=True)
    found = gradients(lambda: elbo.differentiable_loss(model, guide), [logit, m], 5)
    torch.testing.assert_close(found, want.expand(5, 3))


def test_a_pair_without_a_closed_form_is_sampled():
    def model():
        pyro.sample("z", dist.Cauchy(torch.tensor(0.0).double(), 1.0))

    def guide():
        pyro.sample("z", dist.Normal(pyro.param("m", torch.tensor(0.5).double()), 1.0))

    pyro.clear_param_store()
    losses = []
    for analytic in (True, False):
        torch.manual_seed(0)
        losses.append(pg.ELBO(analytic_kl=analytic).loss(model, guide))
    assert losses[0] == losses[1]


class Lopsided(dist.Normal):
    """Another law than the one that it is derived from."""

    def log_prob(self, value):
        return super().log_prob(value) + (value > self.loc) * 0.3


class Known(Lopsided):
    """One whose divergence somebody has registered."""


@torch.distributions.register_kl(Known, Known)
def _known(p, q):
    return p.loc - q.loc


def test_a_law_of_its_own_does_not_have_the_divergence_of_its_family():
    law, known = Lopsided(1.0, 1.0), Known(1.0, 1.0)
    assert divergence(law, dist.Normal(0.0, 1.0)) is None
    assert divergence(dist.Normal(0.0, 1.0), law) is None
    assert divergence(law.to_event(0), law.to_event(0)) is None
    assert divergence(known, Known(0.25, 1.0)) == 0.75


@pytest.mark.parametrize(
    ("more", "fewer"), [((3, 5, 2), (5, 2)), ((2, 2), (2,)), ((4, 1), (3,))]
)
def test_laws_of_which_one_has_the_rows_of_another_site_have_their_divergence(
    more, fewer
):
    a, b = torch.rand(more), torch.rand(fewer)
    expected = a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log()
    p, q = dist.Bernoulli(a), dist.Bernoulli(b)
    torch.testing.assert_close(divergence(p, q), expected)
    back = b * (b / a).log() + (1 - b) * ((1 - b) / (1 - a)).log()
    torch.testing.assert_close(divergence(q, p), back)


def test_a_prior_is_left_behind_by_rows_in_the_guide_alone():
    def model():
        with pyro.plate("data", 2):
            pyro.sample("w", dist.Bernoulli(0.5))
            pyro.sample("z", dist.Bernoulli(torch.tensor([0.3, 0.6])))

    def guide():
        with pyro.plate("data", 2):
            w = pyro.sample("w", dist.Bernoulli(torch.tensor([0.4, 0.7])))
            pyro.sample("z", dist.Bernoulli(0.2 + 0.5 * w))

    elbo = pg.ELBO(
        estimators="enumerate",
        analytic_kl=True,
        num_particles=3,
        vectorize_particles=True,
    )
    plain = pg.ELBO(estimators="enumerate")
    assert elbo.loss(model, guide) == pytest.approx(plain.loss(model, guide), rel=1e-5)


def test_the_option_is_a_flag():
    with pytest.raises(pg.PgpluginsError, match="analytic_kl='yes'"):
        pg.ELBO(analytic_kl="yes")
