"""Pyro's automatic guides and guide messengers, sample by sample as in Trace_ELBO."""

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceGraph_ELBO
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoDiscreteParallel,
    AutoGaussian,
    AutoGuideList,
    AutoHierarchicalNormalMessenger,
    AutoIAFNormal,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMessenger,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalizingFlow,
    AutoNormalMessenger,
    AutoStructured,
)

from tests.infer.same import assert_same, gradients, ours

data = torch.linspace(-1.0, 2.0, 5, dtype=torch.float64)


def model():
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    s = pyro.sample("s", dist.LogNormal(0.0, 0.5))
    with pyro.plate("N", 5, dim=-1):
        offset = pyro.sample("offset", dist.Normal(m, 1.0))
        pyro.sample("x", dist.Normal(offset, s), obs=data)


def flow(model):
    def transforms(dim):
        return dist.transforms.planar(dim).to(torch.float64)

    return AutoNormalizingFlow(model, transforms)


def mixture_model():
    p = pyro.sample("p", dist.Beta(1.0, 1.0))
    with pyro.plate("N", 3, dim=-1):
        z = pyro.sample("z", dist.Bernoulli(p))
        pyro.sample("x", dist.Normal(z, 1.0), obs=data[:3])


def discrete(model):
    guide = AutoGuideList(model)
    guide.append(AutoNormal(poutine.block(model, expose=["p"])))
    guide.append(AutoDiscreteParallel(poutine.block(model, expose=["z"])))
    return guide


class Messenger(AutoMessenger):
    def get_posterior(self, name, prior):
        if name == "p":
            a = pyro.param("a", torch.tensor(2.0))
            return dist.Beta(a, pyro.param("b", torch.tensor(1.5)))
        logits = pyro.param("logits", torch.tensor([0.1, -0.2, 0.3]))
        return dist.Bernoulli(logits=logits + self.upstream_value("p"))


def steps(elbo, model, make, count=2):
    """Results of a few steps of one guide, whose parameters the first step sets up."""
    pyro.clear_param_store()
    pyro.set_rng_seed(1)
    guide = make(model)
    results = []
    for seed in range(count):
        pyro.set_rng_seed(seed)
        loss = elbo.loss_and_grads(model, guide)
        results.append((loss, gradients(guide)))
        for parameter in pyro.get_param_store()._params.values():
            parameter.grad = None
    return results


@pytest.mark.parametrize(
    "particles",
    [
        {"num_particles": 2},
        {"num_particles": 2, "vectorize_particles": True, "max_plate_nesting": 1},
    ],
    ids=["loop", "side by side"],
)
@pytest.mark.parametrize(
    "make",
    [
        AutoNormal,
        AutoDiagonalNormal,
        AutoMultivariateNormal,
        AutoLowRankMultivariateNormal,
        AutoDelta,
        AutoLaplaceApproximation,
        AutoIAFNormal,
        flow,
        AutoStructured,
        AutoGaussian,
        AutoNormalMessenger,
        AutoHierarchicalNormalMessenger,
    ],
    ids=lambda make: make.__name__,
)
@pytest.mark.filterwarnings("ignore:Found vars in model but not guide")
def test_pathwise_guides(make, particles):
    mine = steps(ours(**particles), model, make)
    for one, other in zip(
        mine, steps(Trace_ELBO(**particles), model, make), strict=True
    ):
        assert_same(one, other)


PARTICLES = pytest.mark.parametrize(
    "particles",
    [
        {},
        {"num_particles": 2, "vectorize_particles": True, "max_plate_nesting": 1},
    ],
    ids=["one", "side by side"],
)


@PARTICLES
@pytest.mark.filterwarnings("ignore:Found sample sites configured for enumeration")
@pytest.mark.filterwarnings("ignore:Sites .* are marked for enumeration")
@pytest.mark.parametrize("make", [discrete, Messenger])
def test_discrete_guides_as_in_tracegraph_elbo(make, particles):
    mine = steps(ours(dependencies="provenance", **particles), mixture_model, make, 4)
    theirs = steps(TraceGraph_ELBO(**particles), mixture_model, make, 4)
    for one, other in zip(mine, theirs, strict=True):
        assert_same(one, other)


@PARTICLES
def test_discrete_guide_messengers_as_in_trace_elbo(particles):
    mine = steps(ours(**particles), mixture_model, Messenger, 4)
    theirs = steps(Trace_ELBO(**particles), mixture_model, Messenger, 4)
    for one, other in zip(mine, theirs, strict=True):
        assert_same(one, other)
