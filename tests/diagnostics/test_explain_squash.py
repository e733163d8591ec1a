"""The test for jumps: heavy tails do not deceive it, and jumps do not escape it."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from pgplugins.diagnostics.explain_layout import Layout
from pgplugins.diagnostics.explain_probe import ProbingRules
from pgplugins.diagnostics.explain_squash import PILOT, Squash
from pgplugins.diagnostics.explain_tally import Tally
from pgplugins.diagnostics.recognition import as_objective
from pgplugins.infer.choice import EstimatorRules
from tests.statistics import POWER, limit, parameter


def tally_of(objective, parameters, draws, runs, seed=0, estimators=None):
    """What explain has seen of an objective, without the estimators in use."""
    pair = isinstance(objective, tuple)
    count = {"num_samples" if pair else "num_particles": draws}
    problem = as_objective(objective, **count)
    once = problem.runs(ProbingRules(EstimatorRules(estimators)))
    tally = Tally(Layout(parameters), draws)
    torch.manual_seed(seed)
    for _ in range(runs):
        tally.add(once())
    return tally


def of_normal(cost, draws, runs, seed):
    mu, sigma = parameter(0.3), parameter(1.0)
    tally = tally_of(
        (cost, lambda: dist.Normal(mu, sigma)),
        {"mu": mu, "sigma": sigma},
        draws,
        runs,
        seed,
    )
    return tally.sites["expectation"]


def steep(x):
    return (3 * x).exp()


def test_a_continuous_cost_of_heavy_tails_does_not_jump():
    """Of its mean, 90% comes from one draw in 26; score and path differ till it comes.

    Sixteen right p-values are below 0.05 four times or more in 0.7% of seeds, and below
    1e-6 in one of 60,000; the plain test sees a jump in about four of ten.
    """
    alarms, p_values = 0, []
    for seed in range(16):
        site = of_normal(steep, draws=100, runs=20, seed=seed)
        found = site.disagreement()
        assert found.bounded
        p_values.append(found.test.p)
        site.jump._applies = False
        plain = site.disagreement()
        assert not plain.bounded
        alarms += plain.test.p < 1e-6
    assert alarms >= 2
    assert min(p_values) > 1e-6
    assert sum(p < 0.05 for p in p_values) <= 3


def test_score_and_path_of_the_arctangent_agree():
    """Against a path that is known by quadrature, of which a tenth would be seen."""
    site = of_normal(torch.square, draws=3000, runs=100, seed=0)
    squash, stats = site.jump._squash, site.jump._stats
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(squash(x**2).sum(), x)
    mass = torch.softmax(dist.Normal(0.3, 1.0).log_prob(x.detach()), 0)
    path = torch.stack([mass @ slope, mass @ (slope * (x.detach() - 0.3))])
    error = stats.squared_error.sqrt()
    assert (0.1 * path.abs() > POWER * error).all()
    assert (stats.mean.abs() < limit(2) * error).all()


@pytest.mark.parametrize("smooth", [steep, torch.square, torch.zeros_like])
@pytest.mark.parametrize("height", [3.0, -3.0])
def test_a_jump_beside_it_is_found(smooth, height):
    def cost(x):
        return smooth(x) + height * (x > 0.5)

    site = of_normal(cost, draws=500, runs=40, seed=0)
    found = site.disagreement()
    assert found.bounded and found.test.p < 1e-6


def test_a_site_before_others_is_left_to_the_plain_test():
    theta = parameter(0.8)

    def program():
        z = pyro.sample("z", dist.Normal(theta, 1.0))
        w = pyro.sample("w", dist.Normal(theta * z, 1.0))
        pg.cost("square", theta * w**2)

    tally = tally_of(program, {"theta": theta}, 100, 20)
    assert tally.sites["z"].jump.result() is None
    assert tally.sites["w"].jump.result() is not None
    assert tally.sites["w"].jump.result().p > 1e-6
    found = tally.sites["z"].disagreement()
    assert not found.bounded and found.test.p > 1e-6


def test_a_cost_that_joins_elements_is_left_to_the_plain_test():
    """The arctangent of a sum over elements is no sum over elements."""
    mu = parameter(0.5, -1.0, 2.0)
    law = lambda: dist.Normal(mu, 1.0)  # noqa: E731
    joined = tally_of((lambda x: x.sum(-1) ** 2, law), {"mu": mu}, 100, 20)
    apart = tally_of((lambda x: x**2, law), {"mu": mu}, 100, 20)
    assert joined.sites["expectation"].jump.result() is None
    assert apart.sites["expectation"].jump.result().p > 1e-6


@pytest.mark.parametrize("vectorized", [True, False])
def test_latents_in_a_plate_and_beside_it(vectorized):
    """A jump in one latent's cost is found there alone; the scale is 40 / 4."""
    data = torch.tensor([1.2, -0.4, 0.3, 2.0])
    locs = {name: parameter(0.3) for name in ("a", "b")}

    def model(jump):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 40, subsample_size=4):
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            pyro.factor("jump", jump * (b > 0.5))
            pyro.sample("x", dist.Normal(a + b, 1.0), obs=data)

    def guide(jump):
        pyro.sample("a", dist.Normal(locs["a"], 0.8))
        with pyro.plate("data", 40, subsample_size=4):
            pyro.sample("b", dist.Normal(locs["b"], 0.8))

    for jump in (0.0, 2.0):
        problem = as_objective(
            (model, guide, (jump,)),
            elbo=pg.ELBO(
                num_particles=100 if vectorized else 4,
                vectorize_particles=vectorized,
                max_plate_nesting=1,
            ),
        )
        once = problem.runs(ProbingRules(EstimatorRules(None)))
        tally = Tally(Layout(locs), problem.size)
        torch.manual_seed(0)
        for _ in range(60 if vectorized else 120):
            tally.add(once())
        found = {name: site.jump.result() for name, site in tally.sites.items()}
        assert found["a"].p > 1e-6
        assert (found["b"].p < 1e-6) is (jump > 0)


def test_the_scale_is_learnt_first_and_then_kept():
    squash, costs = Squash(), torch.arange(float(PILOT))
    assert squash(costs[:10]) is None and squash(costs[10:]) is None
    centre, half = (PILOT - 1) / 2, (PILOT - 1) / 4
    found = squash(torch.tensor([centre, centre + half, centre - half]))
    want = torch.atan(torch.tensor([0.0, 1.0, -1.0]))
    torch.testing.assert_close(found, want)
    assert squash(torch.tensor([1e9])).item() == pytest.approx(torch.pi / 2, abs=1e-6)


def test_costs_that_hardly_vary_have_the_scale_of_what_varies():
    squash, costs = Squash(), torch.zeros(100)
    assert squash(costs) is None and squash(costs) is None
    assert squash(torch.tensor([1.0])) is None
    deviation = torch.cat([costs, costs, torch.ones(1)]).double().std()
    want = torch.atan(1 / deviation).item()
    assert squash(torch.tensor([1.0])).item() == pytest.approx(want)


def test_the_warning_says_which_test_it_was():
    theta = parameter(0.3)

    def program():
        z = pyro.sample("z", dist.Normal(theta, 1.0))
        w = pyro.sample("w", dist.Normal(z, 1.0))
        pg.cost("c", w**2 + 3.0 * (w > 0.5))

    found = pg.explain(
        program, {"theta": theta}, num_particles=1000, num_runs=100, seed=0
    )
    at = {site.name: site.warnings for site in found.sites}
    (text,) = [text for text in at["z"] if "jumps" in text]
    assert "tails are so heavy" in text and "arctangent" not in text
