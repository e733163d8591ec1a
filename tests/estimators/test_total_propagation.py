"""Total propagation: the weights by hand, a linear and a chaotic rollout, its bias."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from pgplugins.estimators.total_propagation import mixed
from tests.benchmarks import chaos
from tests.infer import test_lqr as lqr
from tests.statistics import gradients, limit, parameter

NAME = "total_propagation"


def test_two_particles_by_hand():
    """f = x^2 at N(m, 1): S = (f - other's f) eps, P = 2 x, per particle."""
    mu = parameter(0.7)
    held = {}

    def square(x):
        held["x"] = x.detach()
        return x**2

    torch.manual_seed(3)
    law = dist.Normal(mu, torch.ones((), dtype=torch.float64))
    loss = pg.expectation(square, law, estimator=NAME, num_samples=2)
    (found,) = torch.autograd.grad(loss, mu)
    x = held["x"]
    f, eps = x**2, x - 0.7
    score, path = (f - f.flip(0)) * eps, 2 * x
    weight = path.var() / (path.var() + score.var())
    want = (weight * score + (1 - weight) * path).mean()
    torch.testing.assert_close(found, want)
    assert 0.01 < weight < 0.99


def test_weights_are_one_per_parameter_and_element():
    torch.manual_seed(0)
    score, path = torch.randn(5, 2, 3).double(), 4 * torch.randn(5, 2, 3).double()
    weight = path.var(0) / (path.var(0) + score.var(0))
    torch.testing.assert_close(
        mixed(score, path, 0), weight * score + (1 - weight) * path
    )


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ([2.0, 2.0, 2.0], "path"),  # of a linear cost: exact
        ([0.0, 0.0, 0.0], "score"),  # of a step: dead
        ([1.0, float("inf"), 2.0], "score"),
        ([1.0, float("nan"), 2.0], "score"),
        ([1e30, -1e30, 1e25], "score"),  # its variance overflows
    ],
)
def test_paths_that_are_exact_dead_or_exploded(path, want):
    found = {
        "score": torch.tensor([1.0, -3.0, 5.0], dtype=torch.float32),
        "path": torch.tensor(path, dtype=torch.float32),
    }
    torch.testing.assert_close(mixed(found["score"], found["path"], 0), found[want])


def test_a_path_that_dwarfs_the_score_leaves_it_whole():
    score = torch.tensor([1.0, -3.0, 5.0], dtype=torch.float32)
    path = torch.tensor([1e15, -1e15, 2e15], dtype=torch.float32)
    torch.testing.assert_close(mixed(score, path, 0), score)


def test_it_needs_particles():
    mu = parameter(0.0)

    def program():
        with pyro.plate("N", 5):
            pg.cost("c", pyro.sample("x", dist.Normal(mu, 1.0)) ** 2)

    with pytest.raises(pg.PgpluginsError, match="num_particles=2"):
        pg.ExpectedCost(estimators=NAME)(program)


def test_the_regulator():
    """Mean within 3% of the exact gradient with 128 particles."""
    k = lqr.K0.clone().requires_grad_()
    log_s = torch.tensor(lqr.SIGMA).double().log().requires_grad_()

    def program():
        x = pyro.sample("x0", dist.MultivariateNormal(torch.zeros(2).double(), lqr.S0))
        for t in range(lqr.T):
            law = dist.Normal(-(x @ k.T), log_s.exp()).to_event(1)
            u = pyro.sample(f"u{t}", law)
            pg.cost(f"c{t}", (x @ lqr.Q * x).sum(-1) + (u @ lqr.R * u).sum(-1))
            noise = torch.randn_like(x) * lqr.W.diagonal().sqrt()
            x = x @ lqr.A.T + u @ lqr.B.T + noise
        pg.cost("final", (x @ lqr.QF * x).sum(-1))

    objective = pg.ExpectedCost(
        estimators={"u*": NAME, "x0": "reparameterized"}, num_particles=128
    )
    found = gradients(lambda: objective(program), [k, log_s], 200)
    assert_close(found, lqr.exact(), bias=0.03)


def test_a_chaotic_rollout():
    """Less variance than score function and path alone, and the mean within 10%."""
    found = {
        name: chaos.estimates(name, 8, 200, 400)
        for name in ("score_function", "reparameterized", NAME)
    }
    variance = {name: g.var().item() for name, g in found.items()}
    assert variance[NAME] < 0.7 * variance["score_function"]
    assert variance[NAME] < 0.3 * variance["reparameterized"]
    exact = chaos.exact(parameter(-0.5), 8).reshape(1)
    assert_close(found[NAME].unsqueeze(-1), exact, bias=0.1)


@pytest.mark.parametrize(("particles", "low", "high"), [(4, 0.1, 0.6), (1000, 0, 0.01)])
def test_the_bias_shrinks_with_the_particles(particles, low, high):
    """f = exp(x) at N(0, 1), whose gradient for the mean is sqrt(e)."""
    mu, exact = parameter(0.0), torch.tensor(0.5).double().exp()
    law = dist.Normal(mu, torch.ones((), dtype=torch.float64))
    runs = 100_000 // particles + 100
    found = gradients(
        lambda: pg.expectation(torch.exp, law, estimator=NAME, num_samples=particles),
        [mu],
        runs,
    )
    error = found.std() / runs**0.5
    off = (found.mean() - exact).abs() / exact
    assert low - 5 * error / exact < off < high + 5 * error / exact
    if low:
        assert off * exact > 5 * error  # a bias, and no noise


def assert_close(samples, exact, *, bias):
    """The mean is off by less than a share ``bias`` of the truth, and its error."""
    error = samples.std(0) / len(samples) ** 0.5
    allowed = bias * exact.norm() + limit(exact.numel()) * error
    off = (samples.mean(0) - exact).abs()
    assert (off < allowed).all(), (off / exact.norm()).tolist()
