"""``pg.wrap``: a distribution in every respect, with an estimator of its own."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceGraph_ELBO
from torch.distributions import kl_divergence

import pgplugins as pg
from pgplugins.distribution import carried_estimator, unmasked, unwrapped
from tests.statistics import assert_mean, flat_gradient, gradients, parameter

X = torch.tensor([0.3, -0.5, 1.1], dtype=torch.float64)


def base():
    return dist.Normal(parameter(0.1, 0.2, 0.3), parameter(1.0, 2.0, 0.5))


@pytest.mark.parametrize("name", ["score_function", "reparameterized", "hybrid"])
def test_it_is_the_distribution(name):
    law = base()
    wrapped = pg.wrap(law, name)
    assert (wrapped.batch_shape, wrapped.event_shape) == (law.batch_shape, ())
    assert wrapped.support is law.support
    for attribute in ("mean", "variance", "mode"):
        assert torch.equal(getattr(wrapped, attribute), getattr(law, attribute))
    assert torch.equal(wrapped.log_prob(X), law.log_prob(X))
    assert torch.equal(wrapped.entropy(), law.entropy())
    assert torch.equal(wrapped.cdf(X), law.cdf(X))
    assert torch.equal(wrapped.icdf(X.sigmoid()), law.icdf(X.sigmoid()))
    assert name in repr(wrapped)
    assert "Normal" in repr(wrapped)


def test_discrete_ones_keep_their_support():
    wrapped = pg.wrap(dist.Bernoulli(torch.full((2,), 0.3)), "score_function")
    assert wrapped.has_enumerate_support
    assert wrapped.enumerate_support(expand=False).flatten().tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("name", "attached"),
    [("score_function", False), ("reparameterized", True), ("hybrid", True)],
)
def test_calling_it_gives_the_estimators_draw(name, attached):
    law = pg.wrap(base(), name)
    assert law.has_rsample is attached
    assert law().requires_grad is attached
    assert not law.sample().requires_grad


def test_the_draws_are_those_of_the_distribution():
    law = base()
    for wrapped, draw in [
        (pg.wrap(law, "score_function"), law.sample),
        (pg.wrap(law, "reparameterized"), law.rsample),
    ]:
        torch.manual_seed(3)
        want = draw((5,))
        torch.manual_seed(3)
        assert torch.equal(wrapped((5,)), want)


def test_rsample_of_a_detaching_one_says_why_not():
    with pytest.raises(pg.PgpluginsError, match=r"score_function.*detached.*sample"):
        pg.wrap(base(), "score_function").rsample()


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.expand([4, 3]),
        lambda d: d.to_event(1),
        lambda d: d.mask(torch.tensor([True, False, True])),
        lambda d: d.expand([4, 3]).to_event(1).mask(False),
        lambda d: d,
    ],
)
def test_the_estimator_survives_what_pyro_does_to_distributions(change):
    law = base()
    chosen = pg.estimator("score_function")
    changed = change(pg.wrap(law, chosen))
    assert carried_estimator(changed) is chosen
    assert not changed.has_rsample
    bare = unwrapped(changed)
    assert carried_estimator(bare) is None
    assert bare.has_rsample
    assert (bare.batch_shape, bare.event_shape) == (
        changed.batch_shape,
        changed.event_shape,
    )
    value = X.expand(changed.batch_shape + changed.event_shape)
    torch.testing.assert_close(bare.log_prob(value), changed.log_prob(value))


def test_masks_are_seen_through_below_events():
    law = base().mask(torch.tensor([True, False, True])).to_event(1)
    torch.testing.assert_close(
        unmasked(law).log_prob(X), law.base_dist.base_dist.log_prob(X).sum()
    )


def test_kl_divergence_is_that_of_what_is_wrapped():
    p, q = base(), dist.Normal(torch.zeros(3, dtype=torch.float64), 1.5)
    want = kl_divergence(p, q)
    a, b = pg.wrap(p, "score_function"), pg.wrap(q, "reparameterized")
    for left, right in [(a, b), (a, q), (p, b)]:
        torch.testing.assert_close(kl_divergence(left, right), want)
    event = kl_divergence(a.to_event(1), q.to_event(1))
    torch.testing.assert_close(event, want.sum())


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceGraph_ELBO, pg.ELBO])
@pytest.mark.parametrize("name", ["score_function", "reparameterized"])
def test_every_elbo_follows_it(elbo, name):
    """KL(N(m, s) || N(0, 1)) + E[-log N(1; z, 1)] in closed form."""

    def model():
        z = pyro.sample("z", dist.Normal(torch.tensor(0.0).double(), 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(1.0).double())

    attached = []

    def guide():
        m = pyro.param("m", torch.tensor(1.2).double())
        s = pyro.param("s", torch.tensor(0.3).double())
        z = pyro.sample("z", pg.wrap(dist.Normal(m, s.exp()), name))
        attached.append(z.requires_grad)

    guide()
    m, s = pyro.get_param_store()._params.values()
    objective = elbo(num_particles=4000, vectorize_particles=True, max_plate_nesting=0)
    torch.manual_seed(0)
    found = []
    for _ in range(60):
        objective.loss_and_grads(model, guide)
        found.append(torch.stack([m.grad, s.grad]))
        m.grad = s.grad = None
    assert set(attached) == {name == "reparameterized"}
    exact = 0.5 * (m**2 + (2 * s).exp()) - s + 0.5 * ((1 - m) ** 2 + (2 * s).exp())
    assert_mean(torch.stack(found), flat_gradient(exact, [m, s]))


def test_pyros_elbo_refuses_an_estimator_that_it_does_not_know():
    def model():
        pyro.sample("z", dist.Normal(0.0, 1.0))

    def guide():
        m = pyro.param("m", torch.tensor(0.4))
        pyro.sample("z", pg.wrap(dist.Normal(m, 1.0), "hybrid"))

    with pytest.raises(pg.PgpluginsError, match=r"hybrid.*pg\.ELBO"):
        Trace_ELBO().differentiable_loss(model, guide)


def test_expectation_follows_it():
    mu = parameter(0.4)
    wrapped = pg.wrap(dist.Normal(mu, 1.0), "score_function")
    step = gradients(
        lambda: pg.expectation(lambda x: (x > 1).double(), wrapped, num_samples=4000),
        [mu],
        100,
    )
    density = dist.Normal(0.4, 1.0).log_prob(torch.tensor(1.0)).exp()
    assert_mean(step, density)


REFUSED = {
    "rows": (
        lambda: pg.wrap(dist.Bernoulli(torch.tensor(0.5)), "enumerate"),
        ["enumerate", "pg.ELBO", "rows"],
    ),
    "misfit": (
        lambda: pg.wrap(dist.Bernoulli(torch.tensor(0.5)), "reparameterized"),
        ["reparameterized", "Bernoulli", "rsample"],
    ),
    "unknown": (lambda: pg.wrap(base(), "nope"), ["nope"]),
    "no distribution": (lambda: pg.wrap(X, "score_function"), ["Tensor"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_words(name):
    call, words = REFUSED[name]
    with pytest.raises(pg.PgpluginsError) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)
