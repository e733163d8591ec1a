"""A linear-quadratic regulator: rollouts of 20 steps under a Normal policy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

import pgplugins as pg
from tests.benchmarks.rows import (
    COMPILED,
    JIT,
    NUMPYRO,
    OURS,
    PYRO,
    STORCHASTIC,
    Build,
    Row,
    Steps,
    Written,
)
from tests.benchmarks.sides.by_hand import adam, by_hand
from tests.benchmarks.sides.in_numpyro import in_numpyro
from tests.benchmarks.sides.in_pyro import in_pyro

HORIZON, STATES, ACTIONS, PENALTY = 20, 3, 2, 0.1
DYNAMICS = torch.tensor([[1.0, 0.2, 0.0], [0.0, 1.0, 0.2], [0.0, 0.0, 0.9]])
CONTROL = torch.tensor([[0.1, 0.0], [0.0, 0.2], [0.2, 0.1]])


def start() -> dict[str, Tensor]:
    """The gain of the policy, and the logarithm of its standard deviation."""
    return {
        "gain": torch.full((ACTIONS, STATES), -0.1),
        "log_scale": torch.full((ACTIONS,), math.log(0.3)),
    }


def program(params: dict[str, Tensor]) -> None:
    """A rollout, for :class:`pgplugins.ExpectedCost`."""
    state, scale = torch.ones(STATES), params["log_scale"].exp()
    for t in range(HORIZON):
        policy = dist.Normal(state @ params["gain"].T, scale).to_event(1)
        action = pyro.sample(f"action_{t}", policy)
        state = state @ DYNAMICS.T + action @ CONTROL.T
        pg.cost(f"cost_{t}", (state**2).sum(-1) + PENALTY * (action**2).sum(-1))


def _expected_cost(estimator: str, particles: int) -> pg.ExpectedCost:
    return pg.ExpectedCost(
        estimators=estimator, num_particles=particles, max_plate_nesting=0
    )


def ours(estimator: str) -> dict[str, Build]:
    """Our sides, with torch's fused Adam."""

    def eager(particles: int, rate: float) -> Steps:
        params = {n: p.requires_grad_() for n, p in start().items()}
        cost = _expected_cost(estimator, particles)
        return adam(lambda: cost(program, params), params, rate)

    def compiled(particles: int, rate: float) -> Steps:
        params = {n: p.requires_grad_() for n, p in start().items()}
        cost = _expected_cost(estimator, particles)
        loss = pg.compile(lambda: cost(program, params))
        return adam(loss, params, rate)

    return {OURS: eager, COMPILED: compiled}


def pair() -> Any:
    """In Pyro, along the path: the cost as a factor, and densities masked out."""

    def model() -> None:
        state = torch.ones(STATES)
        for t in range(HORIZON):
            law = dist.Normal(torch.zeros(ACTIONS), 1.0).to_event(1).mask(False)
            action = pyro.sample(f"action_{t}", law)
            state = state @ DYNAMICS.T + action @ CONTROL.T
            cost = (state**2).sum(-1) + PENALTY * (action**2).sum(-1)
            pyro.factor(f"cost_{t}", -cost)

    def guide() -> None:
        gain = pyro.param("gain", start()["gain"])
        scale = pyro.param("log_scale", start()["log_scale"]).exp()
        state = torch.ones(STATES)
        for t in range(HORIZON):
            policy = dist.Normal(state @ gain.T, scale).to_event(1).mask(False)
            action = pyro.sample(f"action_{t}", policy)
            state = state @ DYNAMICS.T + action @ CONTROL.T

    return model, guide


def pair_in_numpyro() -> Any:
    """In NumPyro, in the same way."""
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as nd

    dynamics, control = jnp.array(DYNAMICS.numpy()), jnp.array(CONTROL.numpy())
    begin = {name: jnp.array(value.numpy()) for name, value in start().items()}

    def model() -> None:
        state = jnp.ones(STATES)
        for t in range(HORIZON):
            law = nd.Normal(jnp.zeros(ACTIONS), 1.0).to_event(1).mask(False)
            action = numpyro.sample(f"action_{t}", law)
            state = state @ dynamics.T + action @ control.T
            cost = (state**2).sum(-1) + PENALTY * (action**2).sum(-1)
            numpyro.factor(f"cost_{t}", -cost)

    def guide() -> None:
        gain = numpyro.param("gain", begin["gain"])
        scale = jnp.exp(numpyro.param("log_scale", begin["log_scale"]))
        state = jnp.ones(STATES)
        for t in range(HORIZON):
            policy = nd.Normal(state @ gain.T, scale).to_event(1).mask(False)
            action = numpyro.sample(f"action_{t}", policy)
            state = state @ dynamics.T + action @ control.T

    return model, guide


def pathwise(params: dict[str, Tensor], particles: int) -> Tensor:
    """In plain torch, along the path."""
    state, scale = torch.ones(particles, STATES), params["log_scale"].exp()
    noise = torch.randn(HORIZON, particles, ACTIONS)
    total = torch.zeros(())
    for drawn in noise:
        action = state @ params["gain"].T + scale * drawn
        state = state @ DYNAMICS.T + action @ CONTROL.T
        total = total + (state**2).sum() + PENALTY * (action**2).sum()
    return total / particles


def score(params: dict[str, Tensor], particles: int) -> Tensor:
    """In plain torch: REINFORCE with the cost to go, leaving one rollout out."""
    gain, log_scale = params["gain"], params["log_scale"]
    held, scale = gain.detach(), log_scale.detach().exp()
    state = torch.ones(particles, STATES)
    states, actions, costs = [], [], []
    for drawn in torch.randn(HORIZON, particles, ACTIONS):
        action = state @ held.T + scale * drawn
        states.append(state)
        actions.append(action)
        state = state @ DYNAMICS.T + action @ CONTROL.T
        costs.append((state**2).sum(-1) + PENALTY * (action**2).sum(-1))
    off = (torch.stack(actions) - torch.stack(states) @ gain.T) / log_scale.exp()
    log_prob = -(off**2 / 2 + log_scale).sum(-1)
    cost = torch.stack(costs)
    to_go = cost.flip(0).cumsum(0).flip(0)
    if particles > 1:
        to_go = (to_go - to_go.mean(1, keepdim=True)) * particles / (particles - 1)
    return (cost + to_go * (log_prob - log_prob.detach())).sum(0).mean()


def _row(estimator: str, loss: Any, theirs: dict[str, Build], **options: Any) -> Row:
    def objective(particles: int) -> tuple[Callable[[], Tensor], dict[str, Tensor]]:
        params = {n: p.requires_grad_() for n, p in start().items()}
        cost = _expected_cost(estimator, particles)
        return lambda: cost(program, params), params

    written = Written(start, loss)
    return Row(
        about=f"Linear-quadratic regulator, rollouts of 20 steps, {estimator}",
        sides={**theirs, **by_hand(written), **ours(estimator)},
        written=written,
        objective=objective,
        **options,
    )


PATHWISE = _row(
    "reparameterized",
    pathwise,
    {**in_pyro(pair, 0), **in_numpyro(pair_in_numpyro)},
    left_out={STORCHASTIC: "not written for it"},
)
SCORE = _row(
    "score_function",
    score,
    {},
    left_out={
        PYRO: "has no objective of expected costs for score functions",
        JIT: "has no objective of expected costs for score functions",
        NUMPYRO: "has no objective of expected costs for score functions",
        STORCHASTIC: "not written for it",
    },
)
