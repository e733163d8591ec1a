"""A variational autoencoder with 8 Bernoulli latents: few enough to enumerate."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import JitTraceEnum_ELBO, TraceEnum_ELBO
from torch import Tensor
from torch.nn.functional import softplus

import pgplugins as pg
from tests.benchmarks.models import digits
from tests.benchmarks.models.digits import COUNT, IMAGES, PIXELS, network
from tests.benchmarks.rows import JIT, NUMPYRO, PYRO, STORCHASTIC, Row, Written
from tests.benchmarks.sides import in_storchastic
from tests.benchmarks.sides.by_hand import by_hand
from tests.benchmarks.sides.in_numpyro import in_numpyro
from tests.benchmarks.sides.in_pyro import (
    elbo_of,
    in_pyro,
    objective,
    ours,
    steps_of,
)

LATENTS = 8
PRIOR = -LATENTS * math.log(2)
CODES = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * LATENTS)


def start() -> dict[str, Tensor]:
    """Weights of both networks."""
    return digits.weights(LATENTS, LATENTS)


def _networks() -> tuple[Any, Any]:
    encoder = digits.loaded(network(PIXELS, LATENTS), "encoder", start())
    return encoder, digits.loaded(network(LATENTS, PIXELS), "decoder", start())


def pair() -> Any:
    """In Pyro."""
    encoder, decoder = _networks()

    def model() -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("images", COUNT):
            prior = dist.Bernoulli(torch.full((LATENTS,), 0.5)).to_event(1)
            code = pyro.sample("code", prior)
            pixels = dist.Bernoulli(logits=decoder(code)).to_event(1)
            pyro.sample("pixels", pixels, obs=IMAGES)

    def guide() -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("images", COUNT):
            logits = encoder(IMAGES)
            pyro.sample("code", dist.Bernoulli(logits=logits).to_event(1))

    return model, guide


def pair_to_enumerate() -> Any:
    """In Pyro, a site per latent: its own enumeration takes no event dimensions."""
    encoder, decoder = _networks()

    def model() -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("images", COUNT):
            bits = [
                pyro.sample(f"code_{i}", dist.Bernoulli(0.5)) for i in range(LATENTS)
            ]
            code = torch.stack(torch.broadcast_tensors(*bits), -1)
            pixels = dist.Bernoulli(logits=decoder(code)).to_event(1)
            pyro.sample("pixels", pixels, obs=IMAGES)

    def guide() -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("images", COUNT):
            logits = encoder(IMAGES)
            for i in range(LATENTS):
                bit = dist.Bernoulli(logits=logits[:, i])
                pyro.sample(f"code_{i}", bit, infer={"enumerate": "parallel"})

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
            prior = nd.Bernoulli(jnp.full((LATENTS,), 0.5)).to_event(1)
            code = numpyro.sample("code", prior)
            pixels = nd.Bernoulli(logits=decoder(code)).to_event(1)
            numpyro.sample("pixels", pixels, obs=images)

    def guide() -> None:
        encoder = digits.params_in_numpyro(start(), "encoder")
        with numpyro.plate("images", COUNT):
            logits = encoder(images)
            numpyro.sample("code", nd.Bernoulli(logits=logits).to_event(1))

    return model, guide


def pair_to_enumerate_in_numpyro() -> Any:
    """In NumPyro: the exact bound as a factor, for its enumeration needs funsor."""
    import jax
    import jax.numpy as jnp
    import numpyro

    images, codes = jnp.array(IMAGES.numpy()), jnp.array(CODES.numpy())

    def model() -> None:
        decoder = digits.params_in_numpyro(start(), "decoder")
        encoder = digits.params_in_numpyro(start(), "encoder")
        encoded, decoded = encoder(images), decoder(codes)
        log_q = encoded @ codes.T - jax.nn.softplus(encoded).sum(-1, keepdims=True)
        log_p = images @ decoded.T - jax.nn.softplus(decoded).sum(-1) + PRIOR
        numpyro.factor("bound", (jnp.exp(log_q) * (log_p - log_q)).sum())

    return model, lambda: None


def enumerated(params: dict[str, Tensor], particles: int) -> Tensor:
    """All codes, each decoded once for all images."""
    encoded = digits.apply(params, "encoder", IMAGES)
    decoded = digits.apply(params, "decoder", CODES)
    log_q = encoded @ CODES.T - softplus(encoded).sum(-1, keepdim=True)
    log_p = IMAGES @ decoded.T - softplus(decoded).sum(-1) + PRIOR
    return (log_q.exp() * (log_q - log_p)).sum()


def _terms(
    params: dict[str, Tensor], logits: Tensor, code: Tensor
) -> tuple[Tensor, Tensor]:
    """``-log p`` and ``log q`` of codes, by image."""
    decoded = digits.apply(params, "decoder", code)
    log_p = (IMAGES * decoded - softplus(decoded)).sum(-1) + PRIOR
    return -log_p, (code * logits - softplus(logits)).sum(-1)


def score(params: dict[str, Tensor], particles: int) -> Tensor:
    """The score function; several particles leave one out for the baseline."""
    logits = digits.apply(params, "encoder", IMAGES)
    code = torch.bernoulli(logits.detach().sigmoid().expand(particles, -1, -1))
    misfit, log_q = _terms(params, logits, code)
    cost = misfit + log_q.detach()
    advantage = cost.detach()
    if particles > 1:
        advantage = (advantage - advantage.mean(0)) * particles / (particles - 1)
    return (cost + advantage * (log_q - log_q.detach())).mean(0).sum()


def disarm(params: dict[str, Tensor], particles: int) -> Tensor:
    """DisARM (Dong et al. 2020, equation 8)."""
    logits = digits.apply(params, "encoder", IMAGES)
    held = logits.detach()
    uniform, probs = torch.rand(particles, *held.shape), held.sigmoid()
    code = torch.stack([uniform < probs, 1 - uniform < probs]).float()
    misfit, log_q = _terms(params, logits, code)
    cost = misfit + log_q
    half = (cost[0] - cost[1]).detach() / 2
    direction = (code[0] - code[1]) * held.abs().sigmoid()
    term = half * (direction * (logits - held)).sum(-1)
    return (cost.mean(0) + term).mean(0).sum()


def _row(estimator: Any, loss: Any, theirs: Any, **options: Any) -> Row:
    elbo = elbo_of(1, {"code": estimator})
    name = estimator if isinstance(estimator, str) else estimator.name
    written = Written(start, loss)
    return Row(
        about=f"Variational autoencoder, 100 digits, 8 Bernoulli latents, {name}",
        sides={**theirs, **by_hand(written), **ours(pair, elbo)},
        written=written,
        objective=objective(pair, elbo),
        **options,
    )


ENUMERATED = _row(
    pg.estimator("enumerate", expand=False),
    enumerated,
    {
        PYRO: steps_of(
            pair_to_enumerate, lambda _: TraceEnum_ELBO(max_plate_nesting=1)
        ),
        JIT: steps_of(
            pair_to_enumerate,
            lambda _: JitTraceEnum_ELBO(max_plate_nesting=1, ignore_jit_warnings=True),
        ),
        **in_numpyro(pair_to_enumerate_in_numpyro),
        **in_storchastic.bernoulli(start, LATENTS, "Expect"),
    },
    samples=False,
)
SCORE = _row(
    "score_function",
    score,
    {
        **in_pyro(pair, 1),
        **in_numpyro(pair_in_numpyro, "TraceGraph_ELBO"),
        **in_storchastic.bernoulli(start, LATENTS, "ScoreFunction"),
    },
)
DISARM = _row(
    "disarm",
    disarm,
    {},
    left_out={
        PYRO: "has no DisARM",
        JIT: "has no DisARM",
        NUMPYRO: "has no DisARM",
        STORCHASTIC: "its DisARM leaves no gradient (0.3.7)",
    },
)
