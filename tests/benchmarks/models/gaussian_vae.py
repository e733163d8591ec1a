"""A variational autoencoder with 16 Normal latents."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import softplus

from tests.benchmarks.models import digits
from tests.benchmarks.models.digits import COUNT, IMAGES, PIXELS, network
from tests.benchmarks.rows import Row, Written
from tests.benchmarks.sides import in_storchastic
from tests.benchmarks.sides.by_hand import by_hand
from tests.benchmarks.sides.in_numpyro import in_numpyro
from tests.benchmarks.sides.in_pyro import elbo_of, in_pyro, objective, ours

LATENTS = 16


def start() -> dict[str, Tensor]:
    """Weights of both networks."""
    return digits.weights(2 * LATENTS, LATENTS)


def pair() -> Any:
    """In Pyro."""
    encoder = digits.loaded(network(PIXELS, 2 * LATENTS), "encoder", start())
    decoder = digits.loaded(network(LATENTS, PIXELS), "decoder", start())

    def model() -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("images", COUNT):
            prior = dist.Normal(torch.zeros(LATENTS), 1.0).to_event(1)
            code = pyro.sample("code", prior)
            pixels = dist.Bernoulli(logits=decoder(code)).to_event(1)
            pyro.sample("pixels", pixels, obs=IMAGES)

    def guide() -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("images", COUNT):
            loc, log_scale = encoder(IMAGES).chunk(2, -1)
            pyro.sample("code", dist.Normal(loc, log_scale.exp()).to_event(1))

    return model, guide


def pair_in_numpyro() -> Any:
    """In NumPyro."""
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as nd

    images = jnp.array(IMAGES.numpy())

    def model() -> None:
        decoder = digits.params_in_numpyro(start(), "decoder")
        with numpyro.plate("images", COUNT):
            prior = nd.Normal(jnp.zeros(LATENTS), 1.0).to_event(1)
            code = numpyro.sample("code", prior)
            pixels = nd.Bernoulli(logits=decoder(code)).to_event(1)
            numpyro.sample("pixels", pixels, obs=images)

    def guide() -> None:
        encoder = digits.params_in_numpyro(start(), "encoder")
        with numpyro.plate("images", COUNT):
            loc, log_scale = jnp.split(encoder(images), 2, -1)
            numpyro.sample("code", nd.Normal(loc, jnp.exp(log_scale)).to_event(1))

    return model, guide


def loss(params: dict[str, Tensor], particles: int) -> Tensor:
    """In plain torch."""
    loc, log_scale = digits.apply(params, "encoder", IMAGES).chunk(2, -1)
    noise = torch.randn(particles, COUNT, LATENTS)
    code = loc + log_scale.exp() * noise
    log_ratio = (code**2 - noise**2).sum(-1) / 2 - log_scale.sum(-1)
    logits = digits.apply(params, "decoder", code)
    log_likelihood = (IMAGES * logits - softplus(logits)).sum(-1)
    return (log_ratio - log_likelihood).mean(0).sum()


WRITTEN = Written(start, loss)
ROW = Row(
    about="Variational autoencoder, 100 digits, 16 Normal latents, pathwise",
    sides={
        **in_pyro(pair, 1),
        **in_numpyro(pair_in_numpyro),
        **by_hand(WRITTEN),
        **in_storchastic.gaussian(start, LATENTS),
        **ours(pair, elbo_of(1, None)),
    },
    written=WRITTEN,
    objective=objective(pair, elbo_of(1, None)),
)
