"""Costs that are not downstream are left out, which lowers the variance and no more.

Means and variances are exact: every path of the coins is run.
"""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from tests.infer.same import assert_like_tracegraph_elbo, ours, plain_score
from tests.infer.scripted import Coin, exact, moments

values = torch.tensor([0.4, -0.7, 1.1, 0.2], dtype=torch.float64)


def chain(coin=Coin):
    """Each coin depends on the one before, and each is observed."""

    def model():
        c = torch.zeros(())
        for t in range(4):
            c = pyro.sample(f"c{t}", dist.Bernoulli(0.3 + 0.4 * c))
            pyro.sample(f"x{t}", dist.Normal(c, 1.0), obs=values[t])

    def guide():
        w = pyro.param("w", values.clone())
        c = torch.zeros(())
        for t in range(4):
            c = pyro.sample(f"c{t}", coin(logits=w[t] + 0.8 * c))

    return model, guide


def star(coin=Coin):
    """Independent coins, each with an observation of its own."""

    def model():
        for t in range(4):
            c = pyro.sample(f"c{t}", dist.Bernoulli(0.3))
            pyro.sample(f"x{t}", dist.Normal(c, 1.0), obs=values[t])

    def guide():
        w = pyro.param("w", values.clone())
        for t in range(4):
            pyro.sample(f"c{t}", coin(logits=w[t]))

    return model, guide


def tree(coin=Coin):
    """A root, and two branches that meet again in the last observation."""

    def model():
        a = pyro.sample("a", dist.Bernoulli(0.4))
        b = pyro.sample("b", dist.Bernoulli(0.2 + 0.5 * a))
        c = pyro.sample("c", dist.Bernoulli(0.6 - 0.3 * a))
        pyro.sample("x", dist.Normal(b, 1.0), obs=values[0])
        pyro.sample("y", dist.Normal(c, 1.0), obs=values[1])
        pyro.sample("xy", dist.Normal(b - c, 1.0), obs=values[2])

    def guide():
        w = pyro.param("w", values.clone())
        a = pyro.sample("a", coin(logits=w[0]))
        pyro.sample("b", coin(logits=w[1] + w[3] * a))
        pyro.sample("c", coin(logits=w[2] - a))

    return model, guide


PROGRAMS = pytest.mark.parametrize("program", [chain, star, tree])


def all_moments(program, **arguments):
    model, guide = program()
    pyro.clear_param_store()
    guide()
    return {
        kind: moments(ours(dependencies=kind, **arguments), model, guide)
        for kind in ("provenance", "order", "plates")
    }, exact(model, guide)


@PROGRAMS
def test_the_mean_is_exact_whatever_is_left_out(program):
    found, (gradient, loss) = all_moments(program)
    for result in found.values():
        torch.testing.assert_close(result.mean, gradient, rtol=1e-9, atol=1e-9)
        assert result.loss == pytest.approx(loss)


@pytest.mark.parametrize(
    ("program", "by_order", "by_plates"),
    [(chain, 1.05, 1.7), (star, 2.5, 4.0), (tree, 1.1, 1.4)],
)
def test_variance_falls_with_every_cost_that_is_left_out(program, by_order, by_plates):
    found, _ = all_moments(program)
    total = {kind: result.variance.sum().item() for kind, result in found.items()}
    assert total["order"] > by_order * total["provenance"]
    assert total["plates"] > by_plates * total["provenance"]


def test_independent_coins_have_the_variance_of_one_alone():
    """With all other costs left out, a coin's estimate knows nothing of the others."""
    found, _ = all_moments(star)
    for t in range(4):

        def model(t=t):
            c = pyro.sample("c", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(c, 1.0), obs=values[t])

        def guide(t=t):
            pyro.sample("c", Coin(logits=pyro.param("w", values[t])))

        pyro.clear_param_store()
        guide()
        alone = moments(ours(), model, guide)
        torch.testing.assert_close(found["provenance"].mean[t], alone.mean[0])
        torch.testing.assert_close(found["provenance"].variance[t], alone.variance[0])


@PROGRAMS
def test_sample_by_sample_as_tracegraph_elbo_without_control_flow(program):
    model, guide = program(dist.Bernoulli)
    assert_like_tracegraph_elbo(model, guide, seeds=8)
    assert_like_tracegraph_elbo(model, guide, seeds=3, num_particles=3)
    assert_like_tracegraph_elbo(
        model, guide, seeds=3, num_particles=3, vectorize_particles=True
    )


def test_plates_as_in_tracegraph_elbo():
    def model():
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        a = pyro.sample("a", dist.Bernoulli(0.4))
        with pyro.plate("N", 4, subsample_size=3, dim=-1) as i:
            b = pyro.sample("b", dist.Bernoulli(0.2 + 0.5 * a))
            z = pyro.sample("z", dist.Normal(m + b, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=values[i])
        pyro.sample("y", dist.Normal(a, 1.0), obs=values[0])

    def guide():
        w = pyro.param("w", values.clone())
        m = pyro.sample("m", dist.Normal(w[0], 0.6))
        a = pyro.sample("a", dist.Bernoulli(logits=w[1] + m))
        with pyro.plate("N", 4, subsample_size=3, dim=-1) as i:
            b = pyro.sample("b", dist.Bernoulli(logits=w[i] + a))
            pyro.sample("z", dist.Normal(w[2] * b + m, 0.7))

    assert_like_tracegraph_elbo(model, guide, seeds=6)
    assert_like_tracegraph_elbo(model, guide, num_particles=2)
    assert_like_tracegraph_elbo(model, guide, num_particles=2, vectorize_particles=True)


@PROGRAMS
def test_leave_one_out_lowers_the_variance_and_keeps_the_mean(program):
    model, guide = program()
    pyro.clear_param_store()
    guide()
    gradient, _ = exact(model, guide)
    room = {"num_particles": 2, "vectorize_particles": True, "max_plate_nesting": 0}
    plain, left_out = (
        moments(pg.ELBO(estimators=estimator, **room), model, guide)
        for estimator in (plain_score(), "score_function")
    )
    for result in (plain, left_out):
        torch.testing.assert_close(result.mean, gradient, rtol=1e-9, atol=1e-9)
    assert left_out.variance.sum() < 0.8 * plain.variance.sum()


def test_structure_found_once_gives_the_same_estimates():
    model, guide = tree()
    pyro.clear_param_store()
    guide()
    anew, kept = (
        moments(ours(dependencies="provenance", static=static), model, guide)
        for static in (False, True)
    )
    torch.testing.assert_close(anew.mean, kept.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(anew.variance, kept.variance, rtol=1e-12, atol=1e-12)
