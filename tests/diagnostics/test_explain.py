"""The parts that explain measures are the parts that calculus gives."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from tests.statistics import POWER, limit, parameter


@pytest.fixture(autouse=True)
def empty_store():
    with pyro.get_param_store().scope():
        yield


def assert_part(part, exact, *, power=True):
    """Assert that a part has this mean, and that an error of 10% would be seen.

    Fails a right part with a probability of at most 1e-6, had its seed been drawn anew.
    """
    mean = torch.cat([part.mean[name].reshape(-1) for name in exact])
    se = torch.cat([part.se[name].reshape(-1) for name in exact])
    want = torch.cat([torch.as_tensor(v).reshape(-1) for v in exact.values()]).to(mean)
    if power:
        worst = se.norm() / math.sqrt(len(se))
        assert 0.1 * want.norm() >= POWER * worst, f"se {se.tolist()} is too large"
    z = (mean - want).abs() / (se + 1e-7 * (1 + want.abs()))
    assert z.max() < limit(len(z)), f"mean {mean.tolist()}, exact {want.tolist()}"


def sites_of(found):
    return {site.name: site for site in found.sites}


def quadratic(mu, sigma, **settings):
    return pg.explain(
        (lambda x: (x - 2) ** 2, lambda: dist.Normal(mu, sigma)),
        params={"mu": mu, "sigma": sigma},
        **settings,
    )


def test_both_gradients_of_the_quadratic_are_right():
    mu, sigma = parameter(0.7), parameter(1.3)
    found = quadratic(mu, sigma, num_samples=2000, num_runs=100, seed=0)
    (site,) = found.sites
    exact = {"mu": -2.6, "sigma": 2.6}
    assert_part(site.score, exact)
    assert_part(site.pathwise, exact)
    assert_part(found.gradient, exact)
    for part in (site.explicit, found.explicit):
        assert all((part.mean[name] == 0).all() for name in exact)
    assert site.reaches == ["mu", "sigma"]
    assert (site.name, site.estimator) == ("expectation", "reparameterized")
    assert site.reason == "default: it has rsample"
    assert site.warnings == found.warnings == []


def test_standard_errors_are_those_of_the_closed_form():
    """Score with the baseline E f, and path, of one sample: estimators.md."""
    mu, sigma = parameter(0.7), parameter(1.3)
    d2, s2, runs = 1.69, 1.69, 4000
    (site,) = quadratic(mu, sigma, num_runs=runs, seed=1).sites
    path = {"mu": 4 * s2, "sigma": 4 * d2 + 8 * s2}
    for name, variance in path.items():
        assert site.pathwise.se[name] ** 2 * runs == pytest.approx(variance, rel=0.15)
    # A moving average of ten past costs instead of E f.
    least = {"mu": 8 * d2 + 10 * s2, "sigma": 40 * d2 + 56 * s2}
    for name, variance in least.items():
        got = site.score.se[name] ** 2 * runs
        assert 0.8 * variance < got < 1.5 * variance


def test_several_samples_are_baselined_by_one_another():
    """As with the exact mean for a baseline, but for one part in a hundred."""
    mu, sigma = parameter(0.7), parameter(1.3)
    samples, runs = 100, 1000
    (site,) = quadratic(mu, sigma, num_samples=samples, num_runs=runs, seed=2).sites
    for name, variance in {"mu": 18 * 1.69, "sigma": 96 * 1.69}.items():
        got = site.score.se[name] ** 2 * runs * samples
        assert got == pytest.approx(variance, rel=0.25)


def test_a_batch_that_the_cost_sums_over_counts_once():
    mu = parameter(0.5, -1.0, 2.0)
    found = pg.explain(
        (lambda x: x.square().sum(-1), lambda: dist.Normal(mu, 1.0)),
        params={"mu": mu},
        num_samples=500,
        num_runs=100,
        seed=0,
    )
    for part in (found.sites[0].score, found.sites[0].pathwise):
        assert_part(part, {"mu": 2 * mu.detach()})


X, SCALE_X = 1.2, 0.8
MEANS = torch.tensor([-0.5, 1.0])


def mixed_model():
    z = pyro.sample("z", dist.Bernoulli(0.4))
    w = pyro.sample("w", dist.Normal(MEANS[z.long()], 1.0))
    pyro.sample("x", dist.Normal(w, SCALE_X), obs=torch.tensor(X))


def mixed_guide():
    logit = pyro.param("logit", torch.tensor(0.3))
    loc = pyro.param("loc", torch.tensor([0.2, 0.7]))
    log_scale = pyro.param("log_scale", torch.tensor([0.1, -0.4]))
    z = pyro.sample("z", dist.Bernoulli(logits=logit)).long()
    pyro.sample("w", dist.Normal(loc[z], log_scale[z].exp()))


def mixed_gradient():
    """Gradients of the loss by parameter, by enumerating z and integrating w."""
    logit, loc = parameter(0.3), parameter(0.2, 0.7)
    log_scale = parameter(0.1, -0.4)
    q = torch.stack([1 - torch.sigmoid(logit), torch.sigmoid(logit)])
    prior = torch.tensor([0.6, 0.4], dtype=torch.float64)
    variance = (2 * log_scale).exp()
    likelihood = -((X - loc) ** 2 + variance) / (2 * SCALE_X**2)
    model = -((loc - MEANS.double()) ** 2 + variance) / 2
    bound = q @ (likelihood + model + log_scale + prior.log() - q.log())
    parts = torch.autograd.grad(-bound, [logit, loc, log_scale])
    return dict(zip(["logit", "loc", "log_scale"], parts, strict=True))


@pytest.mark.parametrize("w", ["reparameterized", "score_function"])
@pytest.mark.parametrize("vectorized", [True, False])
def test_the_mixed_conjugate_model_site_by_site(w, vectorized):
    elbo = pg.ELBO(
        num_particles=1500 if vectorized else 2,
        vectorize_particles=vectorized,
        max_plate_nesting=0,
        estimators={"w": w},
    )
    found = pg.explain(
        (mixed_model, mixed_guide, ()),
        elbo=elbo,
        num_runs=150 if vectorized else 200,
        seed=0,
    )
    exact, at = mixed_gradient(), sites_of(found)
    of_w = {name: exact[name] for name in ("loc", "log_scale")}
    assert_part(at["z"].score, {"logit": exact["logit"]}, power=vectorized)
    assert_part(at["w"].score, of_w, power=vectorized)
    assert_part(at["w"].pathwise, of_w, power=vectorized)
    assert_part(found.gradient, exact, power=vectorized)
    assert at["z"].pathwise is None
    assert (at["z"].reaches, at["w"].reaches) == (["logit"], ["loc", "log_scale"])
    # The densities' own gradients are left out, but for rounding.
    for part in (found.explicit, at["z"].explicit, at["w"].explicit):
        assert all((part.mean[name].abs() < 1e-6).all() for name in exact)


THETA = 0.8


def chain(theta):
    """Every part of this program has a closed form, and no two are the same."""

    def program():
        z = pyro.sample("z", dist.Normal(theta, 1.0))
        w = pyro.sample("w", dist.Normal(theta * z, 1.0))
        pg.cost("square", theta * w**2)

    return program


@pytest.mark.parametrize("z", ["reparameterized", "score_function", "hybrid"])
@pytest.mark.parametrize("w", ["reparameterized", "score_function", "hybrid"])
def test_a_chain_of_continuous_sites(z, w):
    """z ~ N(t, 1), w ~ N(u z, 1), cost v w^2: v (u^2 (t^2 + 1) + 1) by t, u, v."""
    theta = parameter(THETA)
    found = pg.explain(
        chain(theta),
        {"theta": theta},
        estimators={"z": z, "w": w},
        num_particles=2500,
        num_runs=100,
        seed=0,
    )
    at = sites_of(found)
    of_z, of_w = 2 * THETA**4, 2 * THETA**2 * (THETA**2 + 1)
    direct = THETA**2 * (THETA**2 + 1) + 1
    for part in (at["z"].score, at["z"].pathwise):
        assert_part(part, {"theta": of_z})
    for part in (at["w"].score, at["w"].pathwise):
        assert_part(part, {"theta": of_w})
    for part in (found.explicit, at["z"].explicit, at["w"].explicit):
        assert_part(part, {"theta": direct})
    assert_part(found.gradient, {"theta": of_z + of_w + direct})
    assert not [text for site in found.sites for text in site.warnings]


def test_a_path_goes_on_through_the_score_of_a_later_site():
    """b ~ Bernoulli(sigmoid(z)) has no path: what z changes is in its score."""
    mu = parameter(0.4)

    def program():
        z = pyro.sample("z", dist.Normal(mu, 1.0))
        b = pyro.sample("b", dist.Bernoulli(logits=z))
        pg.cost("b", 3 * b)

    found = pg.explain(program, {"mu": mu}, num_particles=1000, num_runs=200, seed=0)
    z = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    mass = torch.softmax(dist.Normal(mu, 1.0).log_prob(z).detach(), 0)
    p = torch.sigmoid(z)
    exact = {"mu": 3 * (mass * p * (1 - p)).sum()}
    at = sites_of(found)
    assert_part(at["z"].score, exact)
    assert_part(at["z"].pathwise, exact)
    assert at["b"].pathwise is None and at["b"].reaches == []
    assert_part(at["b"].score, {"mu": 0.0}, power=False)


def test_sites_of_a_program_see_the_costs_downstream_of_them():
    theta = parameter(0.3, -0.2)
    p, q = torch.sigmoid(theta.detach())

    def program():
        a = pyro.sample("a", dist.Bernoulli(logits=theta[0]))
        pg.cost("first", 2 * a * theta[1])
        b = pyro.sample("b", dist.Bernoulli(logits=theta[1]))
        pg.cost("second", (b - 0.3) * theta[0])

    found = pg.explain(
        program, {"theta": theta}, num_particles=200, num_runs=300, seed=0
    )
    at = sites_of(found)
    t0, t1 = theta.detach()
    assert_part(at["a"].score, {"theta": torch.stack([2 * t1 * p * (1 - p), 0 * p])})
    assert_part(at["b"].score, {"theta": torch.stack([0 * p, t0 * q * (1 - q)])})
    assert_part(at["a"].explicit, {"theta": torch.stack([0 * p, 2 * p])})
    assert_part(at["b"].explicit, {"theta": torch.stack([q - 0.3, 0 * p])})
    assert_part(found.explicit, {"theta": torch.stack([q - 0.3, 2 * p])})
    assert at["a"].pathwise is at["b"].pathwise is None


def test_subsampled_plates_are_scaled():
    data = torch.linspace(-1.0, 2.0, 6)

    def model():
        with pyro.plate("data", 6, subsample_size=5) as index:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=data[index])

    def guide():
        loc = pyro.param("loc", torch.full((6,), 0.5))
        with pyro.plate("data", 6, subsample_size=5) as index:
            pyro.sample("z", dist.Normal(loc[index], 1.0))

    elbo = pg.ELBO(num_particles=50, vectorize_particles=True, max_plate_nesting=1)
    found = pg.explain((model, guide, ()), elbo=elbo, num_runs=900, seed=0)
    exact = {"loc": 2 * 0.5 - data}
    (site,) = found.sites
    assert_part(site.pathwise, exact)
    assert_part(site.score, exact)


def test_a_path_goes_on_as_the_estimators_of_later_sites_have_it():
    """The cost jumps in w: z's path sees that only where it goes on through a score."""
    mu, height, edge = parameter(0.3), 3.0, 0.5

    def program():
        z = pyro.sample("z", dist.Normal(mu, 1.0))
        w = pyro.sample("w", dist.Normal(z, 1.0))
        pg.cost("c", w**2 + height * (w > edge))

    smooth = 2 * mu.detach()
    there = dist.Normal(mu, 2**0.5).log_prob(torch.tensor(edge)).exp().detach()
    for w, want in (
        ("reparameterized", smooth),
        ("score_function", smooth + height * there),
    ):
        found = pg.explain(
            program,
            {"mu": mu},
            estimators={"w": w},
            num_particles=2500,
            num_runs=150,
            seed=0,
        )
        site = sites_of(found)["z"]
        assert_part(site.pathwise, {"mu": want})
        assert_part(site.score, {"mu": smooth + height * there})
        assert_part(found.gradient, {"mu": want})


class Opaque(dist.TorchDistribution):
    """A normal whose mean nobody can look up."""

    arg_constraints = {}  # noqa: RUF012
    support = dist.constraints.real
    has_rsample = True

    def __init__(self, mean):
        super().__init__(validate_args=False)
        self.mean_of = mean

    def rsample(self, sample_shape=()):
        mean = self.mean_of()
        return mean + torch.randn(mean.shape, dtype=mean.dtype)

    def log_prob(self, value):
        return dist.Normal(self.mean_of(), 1.0).log_prob(value)


def test_a_draw_that_shows_only_in_its_value_where_it_comes_from():
    mu = parameter(0.7)

    def program():
        z = pyro.sample("z", dist.Normal(mu, 1.0))
        w = pyro.sample("w", Opaque(lambda: 2 * z))
        pg.cost("w", 3 * w)

    found = pg.explain(program, {"mu": mu}, num_runs=1500, seed=0)
    site = sites_of(found)["z"]
    assert site.pathwise.mean["mu"].item() == pytest.approx(6.0)
    assert_part(site.score, {"mu": 6.0}, power=False)


def test_runs_before_a_site_was_met_count_as_zeros():
    mu, number = parameter(1.5), itertools.count()

    def program():
        if next(number) % 4 == 3:
            pg.cost("b", pyro.sample("b", dist.Normal(mu, 1.0)))
        else:
            pg.cost("nothing", torch.zeros(()))

    (site,) = pg.explain(program, {"mu": mu}, num_runs=20).sites
    assert site.pathwise.mean["mu"].item() == pytest.approx(5 / 20)


def test_a_site_that_some_runs_do_not_meet():
    logit, mu = parameter(0.5), parameter(1.5)

    def program():
        if pyro.sample("a", dist.Bernoulli(logits=logit)):
            b = pyro.sample("b", dist.Normal(mu, 1.0))
            pg.cost("square", b**2)
        else:
            pg.cost("nothing", torch.zeros(()))

    found = pg.explain(program, {"logit": logit, "mu": mu}, num_runs=1500, seed=0)
    p = torch.sigmoid(logit.detach())
    at = sites_of(found)
    assert_part(at["b"].pathwise, {"mu": 2 * 1.5 * p}, power=False)
    assert_part(at["b"].score, {"mu": 2 * 1.5 * p}, power=False)
    assert_part(at["a"].score, {"logit": p * (1 - p) * (1.5**2 + 1)}, power=False)
    # Counting only the runs that meet the site, the part would be 3.
    assert at["b"].pathwise.se["mu"] < 0.1


def test_a_jump_is_in_the_score_part_alone_and_is_warned_of():
    mu, height, edge = parameter(0.3), 3.0, 0.5

    def cost(x):
        return -(x**2) + height * (x > edge)

    def run(**settings):
        return pg.explain(
            (cost, lambda: dist.Normal(mu, 1.0)),
            params={"mu": mu},
            num_samples=2000,
            num_runs=200,
            seed=0,
            **settings,
        ).sites[0]

    site = run()
    smooth = -2 * mu.detach()
    jump = height * dist.Normal(mu, 1.0).log_prob(torch.tensor(edge)).exp().detach()
    assert_part(site.score, {"mu": smooth + jump})
    assert_part(site.pathwise, {"mu": smooth})
    (warning,) = [text for text in site.warnings if "jumps" in text]
    assert "reparameterized needs a continuous cost" in warning
    (warning,) = run(estimators="score_function").warnings
    assert "jumps" in warning and "right here" in warning
