"""What is timed: one step of inference, and what it is held against.

Every workload returns functions of no arguments that take one step each, by name. The
first is what the others are held against, and all of them share their parameters, which
are in Pyro's store: clear it before the next workload.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO, TraceGraph_ELBO
from torch import Tensor

import pgplugins as pg
from tests.benchmarks.vae import autoencoder

Program = Callable[[], Any]
Steps = dict[str, Callable[[], object]]
SITES = 40


def regression(
    features: Tensor, labels: Tensor, scale: float
) -> tuple[Program, Program]:
    """Bayesian logistic regression with a mean-field Normal guide."""
    size = features.shape[1]
    zeros = torch.zeros(size, dtype=features.dtype)

    def model() -> None:
        weights = pyro.sample("weights", dist.Normal(zeros, 1.0).to_event(1))
        # A vectorised particle stands where the plate of the data has a 1.
        weights = weights.squeeze(-2) if weights.dim() > 1 else weights
        with pyro.plate("data", len(features)):
            likelihood = dist.Bernoulli(logits=weights @ features.T)
            pyro.sample("label", likelihood, obs=labels)

    def guide() -> None:
        loc = pyro.param("loc", zeros.clone())
        start = torch.full_like(zeros, scale)
        spread = pyro.param("scale", start, constraint=dist.constraints.positive)
        pyro.sample("weights", dist.Normal(loc, spread).to_event(1))

    return model, guide


def synthetic() -> tuple[Tensor, Tensor]:
    """569 x 30 features and labels, in single precision."""
    own = torch.Generator().manual_seed(0)
    features = torch.randn(569, 30, generator=own)
    return features, (features @ torch.randn(30, generator=own) > 0).float()


def breast_cancer() -> tuple[Tensor, Tensor]:
    """Scikit-learn's data: 569 x 31 standardised features and labels, in double."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    raw = torch.as_tensor(data.data)
    features = (raw - raw.mean(0)) / raw.std(0, correction=0)
    ones = torch.ones(len(features), 1, dtype=features.dtype)
    return torch.cat([features, ones], 1), torch.as_tensor(data.target).double()


def chain(sites: int) -> tuple[Program, Program]:
    """A chain of Bernoulli sites whose guide is independent."""

    def model() -> None:
        z = torch.zeros(())
        for i in range(sites):
            z = pyro.sample(f"z{i}", dist.Bernoulli(torch.sigmoid(z * 0.5)))
        pyro.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(1.0))

    def guide() -> None:
        logits = pyro.param("logits", torch.zeros(sites))
        for i in range(sites):
            pyro.sample(f"z{i}", dist.Bernoulli(logits=logits[i]))

    return model, guide


def svi_steps(model: Program, guide: Program, objectives: dict[str, Any]) -> Steps:
    """One SVI step per objective, on the same parameters."""
    return {
        name: SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), objective).step
        for name, objective in objectives.items()
    }


def eager() -> Steps:
    """All sites reparameterized, one particle."""
    pair = regression(*synthetic(), 0.1)
    return svi_steps(*pair, {"Trace_ELBO": Trace_ELBO(), "pg.ELBO": pg.ELBO()})


def discrete() -> Steps:
    """Forty discrete sites, of which each sees the costs that depend on it."""
    score = {"estimators": "score_function"}
    objectives = {
        "Trace_ELBO": Trace_ELBO(),
        "TraceGraph_ELBO": TraceGraph_ELBO(),
        "pg.ELBO": pg.ELBO(**score),
        "pg.ELBO, static": pg.ELBO(**score, static=True),
    }
    return svi_steps(*chain(SITES), objectives)


def particles(estimator: str) -> pg.ELBO:
    """An ELBO with 16 vectorised particles and an estimator for the weights."""
    return pg.ELBO(
        num_particles=16,
        vectorize_particles=True,
        max_plate_nesting=1,
        estimators={"weights": estimator},
    )


def hybrid() -> Steps:
    """The breast-cancer regression, pathwise and hybrid."""
    pair = regression(*breast_cancer(), 0.37)
    names = ("reparameterized", "hybrid")
    return svi_steps(*pair, {name: particles(name) for name in names})


def gradient_variances(steps: int, repeats: int) -> dict[str, float]:
    """Total variance of one gradient by estimator, after some steps of Adam.

    The hybrid takes the steps, learning as it goes; then both are measured in turn at
    the point where it arrived.
    """
    model, guide = regression(*breast_cancer(), 0.37)
    guide()
    parameters = list(dict(pyro.get_param_store().named_parameters()).values())
    elbos = {name: particles(name) for name in ("reparameterized", "hybrid")}
    optimizer = torch.optim.Adam(parameters, lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        elbos["hybrid"].differentiable_loss(model, guide).backward()
        optimizer.step()
    found: dict[str, list[Tensor]] = {name: [] for name in elbos}
    for _ in range(repeats):
        for name, elbo in elbos.items():
            loss = elbo.differentiable_loss(model, guide)
            parts = torch.autograd.grad(loss, parameters)
            found[name].append(torch.cat(parts))
    return {
        name: torch.stack(gradients).var(0).sum().item()
        for name, gradients in found.items()
    }


WORKLOADS: dict[str, Callable[[], Steps]] = {
    "eager": eager,
    "discrete": discrete,
    "hybrid": hybrid,
    "autoencoder": autoencoder,
}
