"""Masks and scales weigh costs and never scores, wherever they are written."""

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.distributions.testing.fakes import NonreparameterizedNormal
from pyro.infer import Trace_ELBO

from tests.infer.same import assert_like_trace_elbo, ours, step
from tests.infer.scripted import Coin, exact, moments

SCORED = pytest.mark.parametrize(
    "normal", [dist.Normal, NonreparameterizedNormal], ids=["path", "score"]
)
KEEP = torch.tensor([True, False, True])
observed = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)


def everywhere(model, guide):
    assert_like_trace_elbo(model, guide)
    assert_like_trace_elbo(model, guide, num_particles=2)
    assert_like_trace_elbo(model, guide, num_particles=2, vectorize_particles=True)


def pair(normal, *, wrap_model, wrap_guide, handler=None):
    """A plated latent and an observation; both densities go through the wrappers."""

    def model():
        with pyro.plate("a", 3):
            with handler or poutine.scale(scale=1.0):
                z = pyro.sample("z", wrap_model(dist.Normal(0.0, 1.0)))
            pyro.sample("x", dist.Normal(z, 0.5), obs=observed)

    def guide():
        loc = pyro.param("loc", torch.tensor([0.1, 0.6, -0.2]))
        scale = pyro.param("scale", torch.tensor(0.7))
        with pyro.plate("a", 3), handler or poutine.scale(scale=1.0):
            pyro.sample("z", wrap_guide(normal(loc, scale)))

    return model, guide


@SCORED
@pytest.mark.parametrize("on", ["model", "guide", "both"])
def test_masked_distributions(normal, on):
    def masked(d):
        return d.expand_by([3]).mask(KEEP) if not d.batch_shape else d.mask(KEEP)

    def as_is(d):
        return d

    model, guide = pair(
        normal,
        wrap_model=as_is if on == "guide" else masked,
        wrap_guide=as_is if on == "model" else masked,
    )
    assert_like_trace_elbo(model, guide)
    assert_like_trace_elbo(model, guide, num_particles=2)


@SCORED
@pytest.mark.parametrize(
    "handler",
    [
        poutine.mask(mask=KEEP),
        poutine.mask(mask=False),
        poutine.mask(mask=torch.tensor(False)),
        poutine.scale(scale=0.3),
        poutine.scale(scale=torch.tensor(2.5)),
        poutine.scale(scale=torch.tensor([0.5, 1.5, 0.1])),
    ],
    ids=["some", "none", "none as a tensor", "number", "tensor", "one each"],
)
def test_handlers_in_the_program(normal, handler):
    everywhere(
        *pair(normal, wrap_model=lambda d: d, wrap_guide=lambda d: d, handler=handler)
    )


@SCORED
@pytest.mark.parametrize("scale", [0.3, torch.tensor(0.3)])
def test_handlers_around_the_programs(normal, scale):
    model, guide = pair(normal, wrap_model=lambda d: d, wrap_guide=lambda d: d)
    everywhere(poutine.scale(model, scale=scale), poutine.scale(guide, scale=scale))
    everywhere(poutine.mask(model, mask=KEEP), poutine.mask(guide, mask=KEEP))


@SCORED
def test_partly_observed(normal):
    def model():
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("a", 3):
            pyro.sample("x", dist.Normal(m, 1.0), obs=observed, obs_mask=KEEP)

    def guide():
        m = pyro.sample("m", normal(pyro.param("loc", torch.tensor(0.3)), 0.7))
        locs = pyro.param("locs", torch.tensor([0.1, 0.2, -0.4]))
        with pyro.plate("a", 3), poutine.mask(mask=~KEEP):
            pyro.sample("x_unobserved", normal(m + locs, 0.9))

    everywhere(model, guide)


@SCORED
def test_scales_and_subsamples_multiply(normal):
    def model():
        with pyro.plate("a", 3, subsample_size=2) as i, poutine.scale(scale=0.25):
            with poutine.scale(scale=torch.tensor(3.0)):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 0.5).mask(KEEP[i]), obs=observed[i])

    def guide():
        locs = pyro.param("locs", torch.tensor([0.1, 0.2, -0.4]))
        with pyro.plate("a", 3, subsample_size=2) as i, poutine.scale(scale=0.25):
            with poutine.scale(scale=torch.tensor(3.0)):
                pyro.sample("z", normal(locs[i], 0.9))

    everywhere(model, guide)


def coins(mask):
    """A coin whose own density is masked, and an observation that depends on it."""

    def model():
        c = pyro.sample("c", dist.Bernoulli(0.3).mask(mask))
        pyro.sample("x", dist.Normal(3 * c, 1.0), obs=torch.tensor(2.5))

    def guide():
        p = pyro.param("p", torch.tensor(0.4))
        pyro.sample("c", Coin(logits=p).mask(mask))

    return model, guide


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_a_masked_density_does_not_mask_the_draw(mask, as_tensor):
    # Trace_ELBO drops the score with mask(False), though not with mask(tensor(False)).
    model, guide = coins(torch.tensor(mask) if as_tensor else mask)
    guide()
    assert_exact(model, guide)


def test_trace_elbo_disagrees_with_itself_on_a_false_mask():
    def found(elbo, mask):
        model, _ = coins(mask)

        def guide():
            p = pyro.param("p", torch.tensor(0.4))
            pyro.sample("c", dist.Bernoulli(logits=p).mask(mask))

        gradients = [step(elbo, model, guide, seed=s)[1]["p"] for s in range(4)]
        return [0.0 if g is None else g.item() for g in gradients]

    theirs = found(Trace_ELBO(), torch.tensor(False))
    assert found(Trace_ELBO(), False) == [0.0] * 4
    assert found(ours(), False) == found(ours(), torch.tensor(False)) == theirs
    assert any(theirs)


def assert_exact(model, guide):
    found = moments(ours(), model, guide)
    gradient, loss = exact(model, guide)
    torch.testing.assert_close(found.mean, gradient, rtol=1e-9, atol=1e-9)
    assert abs(found.loss - loss) < 1e-9
    assert gradient.any()
