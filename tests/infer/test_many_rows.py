"""Enumerated sites among others: the exact mean is the exact gradient.

Where every discrete site is enumerated the estimate has no other randomness than the
pathwise sites', and equals TraceEnum_ELBO's sample by sample. Where some coins are
drawn, every path is run.
"""

import itertools

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate

import pgplugins as pg
from tests.infer.same import assert_same, plain_score, step
from tests.infer.scripted import Coin, exact, moments

values = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
rows = torch.tensor([[0.2, -0.5], [0.4, 0.1], [-0.3, 0.6]], dtype=torch.float64)
PARTICLES = pytest.mark.parametrize(
    "particles",
    [{}, {"num_particles": 2}, {"num_particles": 2, "vectorize_particles": True}],
    ids=["one", "loop", "side by side"],
)


def enumerated(site):
    return "enumerate" if site.dist.has_enumerate_support else None


def assert_like_traceenum_elbo(model, guide, nesting, seeds=3, **particles):
    particles["max_plate_nesting"] = nesting
    for seed in range(seeds):
        mine = step(
            pg.ELBO(estimators=enumerated, **particles), model, guide, seed=seed
        )
        theirs = TraceEnum_ELBO(**particles)
        assert_same(mine, step(theirs, model, config_enumerate(guide), seed=seed))


@PARTICLES
def test_pathwise_before_and_after(particles):
    def model():
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        a = pyro.sample("a", dist.Bernoulli(torch.sigmoid(w)))
        with pyro.plate("N", 3):
            z = pyro.sample("z", dist.Normal(a + w, 1.0))
            pyro.sample("x", dist.Normal(a + z, 1.0), obs=values)

    def guide():
        p = pyro.param("p", rows.clone())
        w = pyro.sample("w", dist.Normal(p[0, 0], 0.8))
        a = pyro.sample("a", dist.Bernoulli(logits=p[0, 1] + w))
        with pyro.plate("N", 3):
            pyro.sample("z", dist.Normal(p[:, 0] + a, p[:, 1].exp()))

    assert_like_traceenum_elbo(model, guide, 1, **particles)


@PARTICLES
@pytest.mark.parametrize("subsample", [None, 2], ids=["full", "subsample"])
def test_plates_in_plates_and_one_after_another(particles, subsample):
    def model():
        a = pyro.sample("a", dist.Bernoulli(0.4))
        with pyro.plate("N", 3, subsample_size=subsample, dim=-1) as i:
            k = pyro.sample("k", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])))
            with pyro.plate("M", 2, dim=-2), poutine.scale(scale=1.7):
                c = pyro.sample("c", dist.Bernoulli(0.2 + 0.3 * a + 0.1 * k))
                pyro.sample("x", dist.Normal(a + k + 2 * c, 1.0), obs=rows[i].t())
        with pyro.plate("after", 3, dim=-1):
            d = pyro.sample("d", dist.Bernoulli(0.3 + 0.2 * a))
            mask = torch.tensor([True, False, True])
            pyro.sample("y", dist.Normal(d + a, 1.0).mask(mask), obs=values)

    def guide():
        p = pyro.param("p", rows.clone())
        a = pyro.sample("a", dist.Bernoulli(logits=p[0, 0]))
        with pyro.plate("N", 3, subsample_size=subsample, dim=-1) as i:
            weights = p.new_tensor([1.0, 0.0, -1.0])
            logits = p[i, :1] + weights * (p[i, 1] + a).unsqueeze(-1)
            k = pyro.sample("k", dist.Categorical(logits=logits))
            with pyro.plate("M", 2, dim=-2), poutine.scale(scale=1.7):
                logits = pyro.param("q", rows[:2, :1].clone()) + k + a
                pyro.sample("c", dist.Bernoulli(logits=logits))
        with pyro.plate("after", 3, dim=-1):
            pyro.sample("d", dist.Bernoulli(logits=p[:, 1] - a))

    assert_like_traceenum_elbo(model, guide, 2, **particles)


@PARTICLES
def test_sequential_plates(particles):
    def model():
        a = pyro.sample("a", dist.Bernoulli(0.4))
        for t in pyro.plate("T", 3):
            d = pyro.sample(f"d{t}", dist.Bernoulli(0.3 + 0.2 * a))
            pyro.sample(f"y{t}", dist.Normal(d + a, 1.0), obs=values[t])

    def guide():
        p = pyro.param("p", rows.clone())
        a = pyro.sample("a", dist.Bernoulli(logits=p[0, 0]))
        for t in pyro.plate("T", 3):
            pyro.sample(f"d{t}", dist.Bernoulli(logits=p[t, 1] + a))

    assert_like_traceenum_elbo(model, guide, 0, **particles)


def product_programs(joint, coin=dist.Bernoulli):
    """Three coins as one event, or one after another."""
    prior = torch.tensor([0.2, 0.5, 0.7])

    def observe(c, n):
        # Not a sum over the coins: all 2^3 combinations count.
        pyro.sample("x", dist.Normal(c[..., 0] * c[..., 1] - c[..., 2], 1.0), obs=n)

    def model():
        with pyro.plate("N", 2, dim=-1):
            if joint:
                c = pyro.sample("c", dist.Bernoulli(prior).expand([2, 3]).to_event(1))
            else:
                c = [pyro.sample(f"c{j}", dist.Bernoulli(prior[j])) for j in range(3)]
                c = torch.stack(torch.broadcast_tensors(*c), -1)
            observe(c, values[:2])

    def guide():
        p = pyro.param("p", rows.t().clone())
        with pyro.plate("N", 2, dim=-1):
            if joint:
                pyro.sample("c", coin(logits=p).to_event(1))
            else:
                for j in range(3):
                    pyro.sample(f"c{j}", coin(logits=p[:, j]))

    return model, guide


def test_the_product_space_of_an_event():
    joint, apart = product_programs(True), product_programs(False)
    one = step(pg.ELBO(estimators="enumerate", max_plate_nesting=1), *joint)
    other = step(
        TraceEnum_ELBO(max_plate_nesting=1), apart[0], config_enumerate(apart[1])
    )
    assert_same(one, other)


SITES = ("a", "b", "c")


def coins():
    """A coin, a plate of two below it, and one more that all three decide."""

    def model():
        a = pyro.sample("a", dist.Bernoulli(0.4))
        with pyro.plate("N", 2, dim=-1), poutine.scale(scale=1.6):
            b = pyro.sample("b", dist.Bernoulli(0.2 + 0.5 * a))
            c = pyro.sample("c", dist.Bernoulli(0.6 - 0.3 * a * b))
            pyro.sample("x", dist.Normal(a + b - 2 * c, 1.0), obs=values[:2])
        pyro.sample("y", dist.Normal(a, 1.0), obs=values[2])

    def guide():
        p = pyro.param("p", rows.clone())
        a = pyro.sample("a", Coin(logits=p[2, 0]))
        with pyro.plate("N", 2, dim=-1), poutine.scale(scale=1.6):
            b = pyro.sample("b", Coin(logits=p[:2, 0] + a))
            pyro.sample("c", Coin(logits=p[:2, 1] - a + p[2, 1] * b))

    return model, guide


MIXES = [
    dict(zip(SITES, mix, strict=True))
    for mix in itertools.product(("enumerate", "score_function"), repeat=3)
]


@pytest.mark.parametrize("dependencies", ["provenance", "plates", "order"])
@pytest.mark.parametrize("mix", MIXES, ids=lambda m: "".join(v[0] for v in m.values()))
def test_every_mix_with_drawn_sites(mix, dependencies):
    model, guide = coins()
    guide()
    gradient, loss = exact(model, guide)
    elbo = pg.ELBO(estimators=mix, max_plate_nesting=1, dependencies=dependencies)
    found = moments(elbo, model, guide)
    torch.testing.assert_close(found.mean, gradient, rtol=1e-9, atol=1e-9)
    assert found.loss == pytest.approx(loss, rel=1e-9)
    assert gradient.all()
    if set(mix.values()) == {"enumerate"}:
        assert found.variance.abs().max() < 1e-12


@pytest.mark.parametrize("mix", MIXES[2:5], ids=str)
def test_mixes_with_particles_side_by_side(mix):
    """Leave-one-out baselines next to rows."""
    model, guide = coins()
    guide()
    gradient, _ = exact(model, guide)
    room = {"num_particles": 2, "vectorize_particles": True, "max_plate_nesting": 1}
    if list(mix.values()).count("score_function") > 1:
        mix = {**mix, "c": "enumerate"}
    found = moments(pg.ELBO(estimators=mix, **room), model, guide)
    torch.testing.assert_close(found.mean, gradient, rtol=1e-9, atol=1e-9)


def test_enumerating_a_site_lowers_the_variance():
    model, guide = coins()
    guide()
    drawn, mixed = (
        moments(
            pg.ELBO(estimators={**everywhere, "c": how}, max_plate_nesting=1),
            model,
            guide,
        ).variance.sum()
        for everywhere in [{"a": plain_score(), "b": plain_score()}]
        for how in (plain_score(), "enumerate")
    )
    assert mixed < 0.8 * drawn


def test_evaluating_the_loss_averages_over_rows_too():
    model, guide = coins()
    guide()
    _, loss = exact(model, guide)
    elbo = pg.ELBO(estimators="enumerate", max_plate_nesting=1)
    assert elbo.loss(model, guide) == pytest.approx(loss)
    assert elbo.differentiable_loss(model, guide).item() == pytest.approx(loss)


def test_no_enumerated_site_is_as_trace_elbo():
    """A rule that enumerates nothing changes nothing."""

    def model():
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=values[0])

    def guide():
        pyro.sample("z", dist.Normal(pyro.param("p", values[1]), 0.5))

    mine = step(pg.ELBO(estimators=enumerated), model, guide)
    assert_same(mine, step(Trace_ELBO(), model, guide))
