"""Bayesian logistic regression, 569 rows of 30 features, a mean-field Normal guide."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import softplus

from tests.benchmarks.rows import STORCHASTIC, Row, Written
from tests.benchmarks.sides.by_hand import by_hand
from tests.benchmarks.sides.in_numpyro import in_numpyro
from tests.benchmarks.sides.in_pyro import elbo_of, in_pyro, objective, ours

COUNT, SIZE, SCALE = 569, 30, 0.1


def data() -> tuple[Tensor, Tensor]:
    """Synthetic features and labels."""
    own = torch.Generator().manual_seed(0)
    features = torch.randn(COUNT, SIZE, generator=own)
    return features, (features @ torch.randn(SIZE, generator=own) > 0).float()


FEATURES, LABELS = data()


def pair() -> Any:
    """In Pyro."""

    def model() -> None:
        weights = pyro.sample("w", dist.Normal(torch.zeros(SIZE), 1.0).to_event(1))
        # A vectorised particle stands where the plate of the data has a 1.
        weights = weights.squeeze(-2) if weights.dim() > 1 else weights
        with pyro.plate("data", COUNT):
            likelihood = dist.Bernoulli(logits=weights @ FEATURES.T)
            pyro.sample("label", likelihood, obs=LABELS)

    def guide() -> None:
        loc = pyro.param("loc", torch.zeros(SIZE))
        start = torch.full((SIZE,), SCALE)
        scale = pyro.param("scale", start, constraint=dist.constraints.positive)
        pyro.sample("w", dist.Normal(loc, scale).to_event(1))

    return model, guide


def pair_in_numpyro() -> Any:
    """In NumPyro."""
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as nd

    features, labels = jnp.array(FEATURES.numpy()), jnp.array(LABELS.numpy())

    def model() -> None:
        weights = numpyro.sample("w", nd.Normal(jnp.zeros(SIZE), 1.0).to_event(1))
        with numpyro.plate("data", COUNT):
            numpyro.sample("label", nd.Bernoulli(logits=features @ weights), obs=labels)

    def guide() -> None:
        loc = numpyro.param("loc", jnp.zeros(SIZE))
        start = jnp.full((SIZE,), SCALE)
        scale = numpyro.param("scale", start, constraint=nd.constraints.positive)
        numpyro.sample("w", nd.Normal(loc, scale).to_event(1))

    return model, guide


def start() -> dict[str, Tensor]:
    """Unconstrained parameters."""
    return {"loc": torch.zeros(SIZE), "scale": torch.full((SIZE,), math.log(SCALE))}


def loss(params: dict[str, Tensor], particles: int) -> Tensor:
    """In plain torch: log q along the path is that of the noise, less log scales."""
    noise = torch.randn(particles, SIZE)
    weights = params["loc"] + params["scale"].exp() * noise
    log_ratio = (weights**2 - noise**2).sum(-1) / 2 - params["scale"].sum()
    logits = weights @ FEATURES.T
    log_likelihood = (LABELS * logits - softplus(logits)).sum(-1)
    return (log_ratio - log_likelihood).mean()


WRITTEN = Written(start, loss)
ROW = Row(
    about="Bayesian logistic regression, 569 x 30, pathwise",
    sides={
        **in_pyro(pair, 1),
        **in_numpyro(pair_in_numpyro),
        **by_hand(WRITTEN),
        **ours(pair, elbo_of(1, None)),
    },
    written=WRITTEN,
    objective=objective(pair, elbo_of(1, None)),
    left_out={STORCHASTIC: "not written for it"},
)
