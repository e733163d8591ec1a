"""A state-space model with 50 discrete steps and a guide that is a Markov chain."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import TraceGraph_ELBO
from torch import Tensor
from torch.nn.functional import softplus

import pgplugins as pg
from tests.benchmarks.rows import STORCHASTIC, Row, Written
from tests.benchmarks.sides.by_hand import by_hand
from tests.benchmarks.sides.in_numpyro import in_numpyro
from tests.benchmarks.sides.in_pyro import (
    elbo_of,
    in_pyro,
    objective,
    ours,
    particles_of,
    steps_of,
)

LENGTH, STAY, NOISE = 50, 1.5, 0.7
"""Steps; the logit of staying in a state; the noise of what is observed."""


def _observed() -> Tensor:
    own = torch.Generator().manual_seed(0)
    states = (torch.arange(LENGTH) // 10 % 2).float()
    return 2 * states - 1 + NOISE * torch.randn(LENGTH, generator=own)


OBSERVED = _observed()


def pair() -> Any:
    """In Pyro: ``level`` is learned, and a logit for every step and state before it."""

    def model() -> None:
        level = pyro.param("level", torch.tensor(0.5))
        state = torch.zeros(())
        for t in range(LENGTH):
            law = dist.Bernoulli(logits=STAY * (2 * state - 1))
            state = pyro.sample(f"state_{t}", law)
            seen = dist.Normal(level * (2 * state - 1), NOISE)
            pyro.sample(f"seen_{t}", seen, obs=OBSERVED[t])

    def guide() -> None:
        logits = pyro.param("logits", start()["logits"])
        state = torch.zeros(())
        for t in range(LENGTH):
            logit = logits[t, 0] + state * (logits[t, 1] - logits[t, 0])
            state = pyro.sample(f"state_{t}", dist.Bernoulli(logits=logit))

    return model, guide


def pair_in_numpyro() -> Any:
    """In NumPyro, as a scan: fifty sites written out take XLA minutes to compile."""
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as nd
    from numpyro.contrib.control_flow import scan

    observed = jnp.array(OBSERVED.numpy())
    begin = jnp.array(start()["logits"].numpy())

    def model() -> None:
        level = numpyro.param("level", jnp.array(0.5))

        def move(state: Any, seen: Any) -> Any:
            law = nd.Bernoulli(logits=STAY * (2 * state - 1))
            state = numpyro.sample("state", law).astype(jnp.float32)
            numpyro.sample("seen", nd.Normal(level * (2 * state - 1), NOISE), obs=seen)
            return state, None

        scan(move, jnp.zeros(()), observed)

    def guide() -> None:
        logits = numpyro.param("logits", begin)

        def move(state: Any, logit: Any) -> Any:
            law = nd.Bernoulli(logits=logit[0] + state * (logit[1] - logit[0]))
            state = numpyro.sample("state", law).astype(jnp.float32)
            return state, None

        scan(move, jnp.zeros(()), logits)

    return model, guide


def start() -> dict[str, Tensor]:
    """Parameters, none of them constrained: states that tend to stay."""
    logits = torch.tensor([-1.0, 1.0]).repeat(LENGTH, 1)
    return {"level": torch.tensor(0.5), "logits": logits}


def loss(params: dict[str, Tensor], particles: int) -> Tensor:
    """In plain torch: draw step by step, and all densities at once afterwards."""
    probs = params["logits"].detach().sigmoid()
    state = torch.zeros(particles)
    drawn = [state]
    for on_zero, on_one in probs:
        state = torch.bernoulli(on_zero + state * (on_one - on_zero))
        drawn.append(state)
    states = torch.stack(drawn)
    before, after = states[:-1], states[1:]
    first, second = params["logits"].T.unsqueeze(-1)
    logit = first + before * (second - first)
    log_q = after * logit - softplus(logit)
    prior = STAY * (2 * before - 1)
    off = OBSERVED.unsqueeze(-1) - params["level"] * (2 * after - 1)
    density = off**2 / (2 * NOISE**2) + math.log(NOISE * math.sqrt(2 * math.pi))
    cost = log_q.detach() - (after * prior - softplus(prior)) + density
    downstream = cost.detach().flip(0).cumsum(0).flip(0)
    if particles > 1:
        rest = downstream - downstream.mean(1, keepdim=True)
        downstream = rest * particles / (particles - 1)
    score = downstream * (log_q - log_q.detach())
    return (cost + score).sum(0).mean()


WRITTEN = Written(start, loss)
ROW = Row(
    about="State-space model, 50 Bernoulli states, score function",
    sides={
        **in_pyro(pair, 0),
        "Pyro, TraceGraph_ELBO": steps_of(
            pair, lambda n: TraceGraph_ELBO(**particles_of(n, 0))
        ),
        **in_numpyro(pair_in_numpyro, "TraceGraph_ELBO"),
        **by_hand(WRITTEN),
        "pgplugins, static": steps_of(
            pair,
            lambda n: pg.ELBO(
                **particles_of(n, 0), estimators="score_function", static=True
            ),
        ),
        **ours(pair, elbo_of(0, "score_function")),
    },
    written=WRITTEN,
    objective=objective(pair, elbo_of(0, "score_function")),
    left_out={STORCHASTIC: "not written for it"},
)
