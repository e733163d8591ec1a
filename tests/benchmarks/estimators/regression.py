"""The breast-cancer regression, 16 particles: pathwise and hybrid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI
from torch import Tensor

import pgplugins as pg

Program = Callable[[], Any]
ESTIMATORS = ("reparameterized", "hybrid")


def regression(features: Tensor, labels: Tensor) -> tuple[Program, Program]:
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
        start = torch.full_like(zeros, 0.37)
        spread = pyro.param("scale", start, constraint=dist.constraints.positive)
        pyro.sample("weights", dist.Normal(loc, spread).to_event(1))

    return model, guide


def breast_cancer() -> tuple[Tensor, Tensor]:
    """Scikit-learn's data: 569 x 31 standardised features and labels, in double."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    raw = torch.as_tensor(data.data)
    features = (raw - raw.mean(0)) / raw.std(0, correction=0)
    ones = torch.ones(len(features), 1, dtype=features.dtype)
    return torch.cat([features, ones], 1), torch.as_tensor(data.target).double()


def particles(estimator: str) -> pg.ELBO:
    """An ELBO with 16 vectorised particles and an estimator for the weights."""
    return pg.ELBO(
        num_particles=16,
        vectorize_particles=True,
        max_plate_nesting=1,
        estimators={"weights": estimator},
    )


def steps() -> dict[str, Callable[[], object]]:
    """A step by estimator, on the same parameters."""
    pair = regression(*breast_cancer())
    return {
        name: SVI(*pair, pyro.optim.Adam({"lr": 1e-3}), particles(name)).step
        for name in ESTIMATORS
    }


def gradient_variances(steps: int, repeats: int) -> dict[str, float]:
    """Total variance of one gradient by estimator, after some steps of Adam.

    The hybrid takes the steps, learning as it goes; then both are measured in turn at
    the point where it arrived.
    """
    model, guide = regression(*breast_cancer())
    guide()
    parameters = list(dict(pyro.get_param_store().named_parameters()).values())
    elbos = {name: particles(name) for name in ESTIMATORS}
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
