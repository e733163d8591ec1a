"""Densities of a guide that no model site answers to: auxiliary sites and factors.

Trace_ELBO leaves them out of what a score site is blamed for, so with score sites its
gradient is not that of the loss that it reports. Here it is.
"""

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import Trace_ELBO

import pgplugins as pg
from tests.infer.same import (
    assert_like_trace_elbo,
    assert_like_tracegraph_elbo,
    assert_same,
    ours,
    step,
)
from tests.infer.scripted import Coin, exact, moments

AUXILIARY = {"is_auxiliary": True}
BOTH = pytest.mark.parametrize("dependencies", ["provenance", "plates", "order"])


def assert_exact(model, guide, dependencies, truth=None):
    pyro.clear_param_store()
    (truth or guide)()
    gradient, loss = exact(model, truth or guide)
    found = moments(ours(dependencies=dependencies), model, guide)
    torch.testing.assert_close(found.mean, gradient, rtol=1e-9, atol=1e-9)
    assert abs(found.loss - loss) < 1e-9
    assert gradient.all()


def model():
    c = pyro.sample("c", dist.Bernoulli(0.3))
    pyro.sample("x", dist.Normal(3 * c, 1.0), obs=torch.tensor(1.9))


def parameters():
    return (pyro.param(n, torch.tensor(v)) for n, v in (("p", 0.4), ("q", 0.9)))


@BOTH
def test_auxiliary_score_sites(dependencies):
    def guide():
        p, q = parameters()
        u = pyro.sample("u", Coin(logits=p), infer=AUXILIARY)
        pyro.sample("c", Coin(logits=q * (u - 0.3)))

    assert_exact(model, guide, dependencies)


def test_auxiliary_sites_as_tracegraph_elbo_has_them():
    def guide():
        p, q = parameters()
        u = pyro.sample("u", dist.Bernoulli(logits=p), infer=AUXILIARY)
        pyro.sample("c", dist.Bernoulli(logits=q * (u - 0.3)))

    assert_like_tracegraph_elbo(model, guide, seeds=6)


def test_auxiliary_pathwise_sites():
    def model():
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(0.8))

    def guide():
        p, q = parameters()
        u = pyro.sample("u", dist.Normal(p, 0.5), infer=AUXILIARY)
        pyro.sample("z", dist.Delta((u + q).tanh(), log_density=-u))

    assert_like_trace_elbo(model, guide)


@BOTH
def test_a_factor_of_what_was_drawn_at_a_site(dependencies):
    def guide():
        p, q = parameters()
        c = pyro.sample("c", Coin(logits=p))
        pyro.factor("jacobian", q * (c - 0.2), has_rsample=True)

    assert_exact(model, guide, dependencies)


class AsFactor:
    """A coin drawn out of sight, and its density as a factor."""

    def draw(self, logits):
        with torch.no_grad():
            return Coin(logits=logits).sample()

    def tell(self, logits, c):
        log_q = dist.Bernoulli(logits=logits).log_prob(c)
        pyro.factor("log_q", log_q, has_rsample=False)


class AsSite:
    """The same coin in the open."""

    def draw(self, logits):
        return pyro.sample("u", Coin(logits=logits), infer=AUXILIARY)

    def tell(self, logits, c):
        pass


@BOTH
@pytest.mark.parametrize("late", [False, True], ids=["at once", "later"])
def test_a_factor_of_what_was_drawn_out_of_sight(dependencies, late):
    """``has_rsample=False``: the factor is the density of a draw, and needs a score."""

    def guide_with(coin):
        def guide():
            p, q = parameters()
            c = coin.draw(p)
            if not late:
                coin.tell(p, c)
            pyro.sample("d", Coin(logits=q * (c - 0.3)))
            if late:
                coin.tell(p, c)
            pyro.sample("c", dist.Delta(c))

        return guide

    def model():
        c = pyro.sample("c", dist.Normal(0.0, 1.0))
        pyro.sample("d", dist.Bernoulli(0.25))
        pyro.sample("x", dist.Normal(3 * c, 1.0), obs=torch.tensor(1.9))

    assert_exact(model, guide_with(AsFactor()), dependencies, guide_with(AsSite()))


def test_a_factor_must_say_what_it_comes_from():
    def guide():
        p, q = parameters()
        c = pyro.sample("c", dist.Bernoulli(logits=p))
        pyro.factor("g", q * c)

    for elbo in (Trace_ELBO(), pg.ELBO()):
        with pytest.raises(ValueError, match="missing specification of has_rsample"):
            elbo.loss_and_grads(model, guide)


def test_a_factor_of_a_pathwise_guide():
    def model():
        with pyro.plate("a", 2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=torch.tensor(0.8))

    def guide():
        p, q = parameters()
        with pyro.plate("a", 2), poutine.scale(scale=0.7):
            z = pyro.sample("z", dist.Normal(p, 0.5))
            pyro.factor("g", q * z, has_rsample=True)

    assert_like_trace_elbo(model, guide)
    assert_like_trace_elbo(model, guide, num_particles=2)


def test_guide_messengers_leave_the_models_factors_alone():
    from pyro.infer.autoguide import AutoMessenger

    class Guide(AutoMessenger):
        def get_posterior(self, name, prior):
            return dist.Bernoulli(logits=next(parameters()))

    def model():
        c = pyro.sample("c", dist.Bernoulli(0.3))
        weight = pyro.param("weight", torch.tensor(1.3))
        pyro.factor("f", -weight * (1 + c), has_rsample=False)

    for seed in range(4):
        mine = step(ours(), model, Guide(model), seed=seed)
        assert_same(mine, step(Trace_ELBO(), model, Guide(model), seed=seed))


def test_trace_elbo_is_biased_where_a_score_site_is_auxiliary():
    def guide():
        p, q = parameters()
        u = pyro.sample("u", Coin(logits=p), infer=AUXILIARY)
        pyro.sample("c", Coin(logits=q * (u - 0.3)))

    guide()
    gradient, _ = exact(model, guide)
    theirs = moments(Trace_ELBO(), model, guide).mean
    assert (theirs - gradient).abs().max() > 0.05
