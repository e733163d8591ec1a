"""At equal seeds the default estimators are Trace_ELBO's, sample by sample."""

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.distributions import constraints
from pyro.distributions.testing.fakes import (
    NonreparameterizedBeta,
    NonreparameterizedDirichlet,
    NonreparameterizedGamma,
    NonreparameterizedNormal,
)

from tests.infer.same import assert_like_trace_elbo

SCORED = pytest.mark.parametrize(
    "normal", [dist.Normal, NonreparameterizedNormal], ids=["path", "score"]
)
PARTICLES = pytest.mark.parametrize(
    "particles",
    [
        {},
        {"num_particles": 3},
        {"num_particles": 3, "vectorize_particles": True},
        {"num_particles": 2, "vectorize_particles": True, "max_plate_nesting": 3},
    ],
    ids=["one", "loop", "side by side", "room to spare"],
)
data = torch.tensor([[-0.5, 1.5], [0.7, 0.2], [1.1, -2.0]], dtype=torch.float64)


def positive(name, value):
    return pyro.param(name, torch.tensor(value), constraint=constraints.positive)


@SCORED
@PARTICLES
@pytest.mark.parametrize("subsample", [None, 2], ids=["full", "subsample"])
def test_nested_plates(normal, particles, subsample):
    def model():
        m = pyro.sample("m", dist.Normal(0.0, 1.5))
        with pyro.plate("a", 3, subsample_size=subsample, dim=-1) as i:
            z = pyro.sample("z", dist.Normal(m, 1.0))
            with pyro.plate("b", 2, dim=-2) as j:
                y = pyro.sample("y", dist.Normal(z, 1.0))
                x = data.to(y)[i][:, j].t()
                pyro.sample("x", dist.Normal(y + m, 0.5), obs=x)

    def guide():
        scale = positive("scale", 0.7)
        slopes = pyro.param("slopes", torch.tensor([0.1, 0.2, -0.3]))
        shifts = pyro.param("shifts", torch.tensor([[0.4], [-0.6]]))
        m = pyro.sample("m", normal(pyro.param("loc", torch.tensor(0.3)), scale))
        with pyro.plate("a", 3, subsample_size=subsample, dim=-1) as i:
            z = pyro.sample("z", normal(slopes[i] * m, scale))
            with pyro.plate("b", 2, dim=-2):
                pyro.sample("y", normal(z + shifts, scale))

    assert_like_trace_elbo(model, guide, **particles)


@SCORED
@pytest.mark.parametrize("subsample", [None, 2], ids=["full", "subsample"])
@pytest.mark.parametrize("count", [1, 3])
def test_sequential_plates(normal, subsample, count):
    def model():
        m = pyro.sample("m", dist.Normal(0.0, 1.5))
        for i in pyro.plate("outer", 3, subsample_size=subsample):
            z = pyro.sample(f"z{i}", dist.Normal(m, 1.0))
            for j in pyro.plate(f"inner{i}", 2):
                pyro.sample(f"x{i}{j}", dist.Normal(z, 0.5), obs=data[i, j])

    def guide():
        m = pyro.sample("m", normal(pyro.param("loc", torch.tensor(0.3)), 0.6))
        locs = pyro.param("locs", torch.tensor([0.1, 0.2, -0.3]))
        for i in pyro.plate("outer", 3, subsample_size=subsample):
            pyro.sample(f"z{i}", normal(locs[i] + m, positive("scale", 0.7)))

    assert_like_trace_elbo(model, guide, num_particles=count)


@SCORED
def test_a_sequential_plate_of_parallel_ones(normal):
    def model(z=None):
        for i in pyro.plate("outer", 2):
            with pyro.plate(f"inner{i}", 3):
                z = pyro.sample(f"z{i}", dist.Normal(0.0, 1.0))
                pyro.sample(f"x{i}", dist.Normal(z, 0.5), obs=data[:, i])

    def guide():
        locs = pyro.param("locs", torch.tensor([[0.1, 0.2, -0.3], [0.5, 0.0, 1.0]]))
        for i in pyro.plate("outer", 2):
            with pyro.plate(f"inner{i}", 3):
                pyro.sample(f"z{i}", normal(locs[i], positive("scale", 0.7)))

    assert_like_trace_elbo(model, guide)
    assert_like_trace_elbo(model, guide, num_particles=2, vectorize_particles=True)


@SCORED
@PARTICLES
def test_given_subsamples(normal, particles):
    chosen = torch.tensor([2, 0])

    def model():
        with pyro.plate("a", 3, subsample=chosen):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=data[chosen])

    def guide():
        locs = pyro.param("locs", data.roll(1, 0) * 0.3)
        with pyro.plate("a", 3, subsample=chosen) as i:
            pyro.sample("z", normal(locs[i], positive("scale", 0.7)).to_event(1))

    assert_like_trace_elbo(model, guide, **particles)


@SCORED
@PARTICLES
def test_a_subsample_is_drawn_once_for_guide_and_model(normal, particles):
    def model():
        plate = pyro.plate("a", 3, subsample_size=1, dim=-1)
        with plate as i:
            batch = pyro.subsample(data, event_dim=1)
            assert torch.equal(batch, data[i])
            z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=batch)

    def guide():
        with pyro.plate("a", 3, subsample_size=1, dim=-1) as i:
            locs = pyro.param("locs", data * 0.3, event_dim=1)
            assert locs.shape == (len(i), 2)
            pyro.sample("z", normal(locs, 0.6).to_event(1))

    assert_like_trace_elbo(model, guide, **particles)


@pytest.mark.parametrize(
    ("family", "prior"),
    [
        (lambda p: dist.Bernoulli(logits=p.sum(-1)), dist.Bernoulli(0.3)),
        (lambda p: dist.Categorical(logits=p), dist.Categorical(torch.ones(3) / 3)),
        (
            lambda p: dist.OneHotCategorical(logits=p),
            dist.OneHotCategorical(torch.ones(3) / 3),
        ),
        (lambda p: dist.Poisson(p.exp().sum(-1)), dist.Poisson(2.0)),
        (lambda p: dist.Geometric(logits=p.sum(-1)), dist.Geometric(0.4)),
        (lambda p: dist.Binomial(4, logits=p.sum(-1)), dist.Binomial(4, 0.3)),
        (lambda p: NonreparameterizedGamma(p.exp().sum(-1), 2.0), dist.Gamma(2, 2)),
        (lambda p: dist.Gamma(p.exp().sum(-1), 2.0), dist.Gamma(2.0, 2.0)),
        (lambda p: NonreparameterizedBeta(p.exp().sum(-1), 2.0), dist.Beta(2, 2)),
        (
            lambda p: NonreparameterizedDirichlet(p.exp()),
            dist.Dirichlet(torch.ones(3)),
        ),
        (lambda p: dist.Dirichlet(p.exp()), dist.Dirichlet(torch.ones(3))),
        (lambda p: dist.VonMises(p.sum(-1), 2.0), dist.VonMises(0.0, 1.0)),
        (lambda p: dist.LogNormal(p.sum(-1), 0.5), dist.LogNormal(0.0, 1.0)),
        (lambda p: dist.Delta(p.sum(-1)), dist.Normal(0.0, 1.0)),
        (
            lambda p: dist.MultivariateNormal(p, scale_tril=torch.eye(3)),
            dist.Normal(torch.zeros(3), 1.0).to_event(1),
        ),
        (
            lambda p: dist.TransformedDistribution(
                dist.Normal(p.sum(-1), 0.5),
                [dist.transforms.ExpTransform(cache_size=1)],
            ),
            dist.LogNormal(0.0, 1.0),
        ),
    ],
)
def test_families(family, prior):
    def model():
        with pyro.plate("a", 2):
            z = pyro.sample("z", prior)
            rest = tuple(range(1, z.dim()))
            total = z.sum(rest) if rest else z
            pyro.sample("x", dist.Normal(total, 1.0), obs=torch.tensor([0.5, 1.5]))

    def guide():
        p = pyro.param("p", torch.tensor([[0.2, -0.5, 0.4], [0.3, 0.1, 0.2]]))
        with pyro.plate("a", 2):
            pyro.sample("z", family(p))

    assert_like_trace_elbo(model, guide, num_particles=2)


@SCORED
def test_events_and_expansions(normal):
    def model():
        z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([3, 2]).to_event(2))
        pyro.sample("x", dist.Normal(z, 0.5).to_event(2), obs=data)

    def guide():
        loc = pyro.param("loc", torch.tensor([0.1, -0.4]))
        pyro.sample("z", normal(loc, positive("s", 0.7)).expand([3, 2]).to_event(2))

    assert_like_trace_elbo(model, guide)
    assert_like_trace_elbo(model, guide, num_particles=2, vectorize_particles=True)


@SCORED
def test_batch_dimensions_without_a_plate(normal):
    def model():
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=data[:, 0])

    def guide():
        pyro.sample("z", normal(pyro.param("loc", data[:, 1]), positive("s", 0.7)))

    with pyro.validation_enabled(False):  # which asks for a plate
        assert_like_trace_elbo(model, guide)


def test_sites_inside_python_control_flow():
    def model():
        c = pyro.sample("c", dist.Bernoulli(0.4))
        shift = pyro.sample("z", dist.Normal(1.0, 1.0)) if c > 0 else 0.0
        pyro.sample("x", dist.Normal(c + shift, 1.0), obs=torch.tensor(1.3))

    def guide():
        loc = pyro.param("loc", torch.tensor(0.2))
        c = pyro.sample("c", dist.Bernoulli(logits=pyro.param("p", torch.tensor(0.3))))
        if c > 0:
            pyro.sample("z", dist.Normal(loc, 1.0))

    assert_like_trace_elbo(model, guide, seeds=6)
    assert_like_trace_elbo(model, guide, num_particles=3)


@SCORED
def test_model_parameters_get_gradients_too(normal):
    def model():
        width = positive("width", 1.3)
        z = pyro.sample("z", dist.Normal(pyro.param("prior", torch.tensor(0.4)), width))
        pyro.sample("x", dist.Normal(z, width), obs=torch.tensor(0.7))

    def guide():
        pyro.sample("z", normal(pyro.param("loc", torch.tensor(0.1)), 0.8))

    assert_like_trace_elbo(model, guide)


@SCORED
def test_chains(normal):
    def model():
        z = torch.zeros(())
        for t in pyro.markov(range(4)):
            z = pyro.sample(f"z{t}", dist.Normal(z, 1.0))
            pyro.sample(f"x{t}", dist.Normal(z, 0.5), obs=data.reshape(-1)[t])

    def guide():
        z = torch.zeros(())
        drift = pyro.param("drift", torch.tensor([0.1, 0.2, 0.3, -0.1]))
        for t in pyro.markov(range(4)):
            z = pyro.sample(f"z{t}", normal(0.9 * z + drift[t], 0.6))

    assert_like_trace_elbo(model, guide)
    assert_like_trace_elbo(model, guide, num_particles=2, vectorize_particles=True)


@SCORED
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_follows_the_tensors(normal, dtype):
    def model():
        with pyro.plate("a", 3):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=dtype), 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=data[:, 0].to(dtype))

    def guide():
        loc = pyro.param("loc", data[:, 1].to(dtype))
        with pyro.plate("a", 3):
            z = pyro.sample("z", normal(loc, torch.ones((), dtype=dtype)))
        assert z.dtype is dtype

    tolerance = 1e-5 if dtype is torch.float32 else 1e-10
    assert_like_trace_elbo(model, guide, num_particles=2, tolerance=tolerance)
    assert pyro.param("loc").grad.dtype is dtype


@SCORED
def test_validation_off_changes_nothing(normal):
    def model():
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=torch.tensor(0.7))

    def guide():
        pyro.sample("z", normal(pyro.param("loc", torch.tensor(0.1)), 0.8))

    with pyro.validation_enabled(False):
        assert_like_trace_elbo(model, guide, num_particles=2)


@SCORED
def test_deterministic_sites(normal):
    def model():
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        y = pyro.deterministic("y", 2 * z)
        pyro.sample("x", dist.Normal(y, 0.5), obs=torch.tensor(0.7))

    def guide():
        z = pyro.sample("z", normal(pyro.param("loc", torch.tensor(0.1)), 0.8))
        pyro.deterministic("also", z**2)

    assert_like_trace_elbo(model, guide)


@SCORED
def test_factors_of_a_model(normal):
    def model():
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.factor("f", -positive("weight", 0.5) * z**2)
        with pyro.plate("a", 3):
            pyro.factor("g", -((z - data[:, 0]) ** 2))

    def guide():
        pyro.sample("z", normal(pyro.param("loc", torch.tensor(0.1)), 0.8))

    assert_like_trace_elbo(model, guide)
    assert_like_trace_elbo(model, guide, num_particles=2, vectorize_particles=True)


def test_a_program_without_any_latent():
    def model():
        loc = pyro.param("loc", torch.tensor(0.15))
        with pyro.plate("a", 3, subsample_size=2) as i:
            pyro.sample("x", dist.Normal(loc, 1.0), obs=data[i, 0])

    assert_like_trace_elbo(model, lambda: None)
    assert_like_trace_elbo(
        model, lambda: None, num_particles=2, vectorize_particles=True
    )


@SCORED
def test_hidden_sites_of_a_guide_are_its_own_business(normal):
    def model():
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=torch.tensor(0.7))

    def guide():
        with poutine.block():
            noise = pyro.sample("noise", dist.Normal(0.0, 1.0))
        pyro.sample("z", normal(pyro.param("loc", torch.tensor(0.1)) + noise, 0.8))

    assert_like_trace_elbo(model, guide)
