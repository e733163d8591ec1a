"""Programs that tests compile."""

import pyro
import pyro.distributions as dist
import torch

import pgplugins as pg

DATA = torch.tensor([0.1, 0.3, 2.9, 3.2])


def mixture_model(data=DATA):
    with pyro.plate("data", len(data)):
        z = pyro.sample("z", dist.Bernoulli(0.3))
        pyro.sample("x", dist.Normal(3 * z, 1.0), obs=data)


def mixture_guide(data=DATA):
    logits = pyro.param("logits", torch.zeros(len(data)))
    with pyro.plate("data", len(data)):
        pyro.sample("z", dist.Bernoulli(logits=logits))


def posterior(data=DATA):
    one = dist.Normal(3.0, 1.0).log_prob(data).exp() * 0.3
    none = dist.Normal(0.0, 1.0).log_prob(data).exp() * 0.7
    return one / (one + none)


def normal_model():
    pyro.sample("z", dist.Normal(3.0, 1.0))


def normal_guide():
    loc = pyro.param("loc", torch.tensor(0.0))
    scale = pyro.param("scale", torch.tensor(2.0), constraint=dist.constraints.positive)
    pyro.sample("z", dist.Normal(loc, scale))


def svi(model, guide, optim=None, **settings):
    pyro.clear_param_store()
    optim = optim or pyro.optim.Adam({"lr": 0.05})
    return pyro.infer.SVI(model, guide, optim, pg.ELBO(**settings))


def exact_svi(optim=None):
    """Inference without noise: every step can be compared."""
    return svi(mixture_model, mixture_guide, optim, estimators="enumerate")


def parameters():
    return {
        name: value.detach().clone() for name, value in pyro.get_param_store().items()
    }
