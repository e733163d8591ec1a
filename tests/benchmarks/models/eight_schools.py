"""Eight schools, non-centred, with a mean-field guide: three sites, 18 numbers."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from tests.benchmarks.rows import STORCHASTIC, Row, Written
from tests.benchmarks.sides.by_hand import by_hand
from tests.benchmarks.sides.in_numpyro import in_numpyro
from tests.benchmarks.sides.in_pyro import elbo_of, in_pyro, objective, ours

EFFECTS = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
SCHOOLS, SCALE = 8, 0.5


def pair() -> Any:
    """In Pyro."""

    def model() -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        tau = pyro.sample("tau", dist.HalfCauchy(5.0))
        with pyro.plate("schools", SCHOOLS):
            eta = pyro.sample("eta", dist.Normal(0.0, 1.0))
            pyro.sample("effect", dist.Normal(mu + tau * eta, ERRORS), obs=EFFECTS)

    def normal(name: str, *shape: int) -> tuple[Tensor, Tensor]:
        loc = pyro.param(f"{name}_loc", torch.zeros(shape))
        start = torch.full(shape, SCALE)
        positive = dist.constraints.positive
        return loc, pyro.param(f"{name}_scale", start, constraint=positive)

    def guide() -> None:
        pyro.sample("mu", dist.Normal(*normal("mu")))
        pyro.sample("tau", dist.LogNormal(*normal("tau")))
        eta = normal("eta", SCHOOLS)
        with pyro.plate("schools", SCHOOLS):
            pyro.sample("eta", dist.Normal(*eta))

    return model, guide


def pair_in_numpyro() -> Any:
    """In NumPyro."""
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as nd

    effects, errors = jnp.array(EFFECTS.numpy()), jnp.array(ERRORS.numpy())

    def model() -> None:
        mu = numpyro.sample("mu", nd.Normal(0.0, 5.0))
        tau = numpyro.sample("tau", nd.HalfCauchy(5.0))
        with numpyro.plate("schools", SCHOOLS):
            eta = numpyro.sample("eta", nd.Normal(0.0, 1.0))
            numpyro.sample("effect", nd.Normal(mu + tau * eta, errors), obs=effects)

    def normal(name: str, *shape: int) -> Any:
        loc = numpyro.param(f"{name}_loc", jnp.zeros(shape))
        start = jnp.full(shape, SCALE)
        positive = nd.constraints.positive
        return loc, numpyro.param(f"{name}_scale", start, constraint=positive)

    def guide() -> None:
        numpyro.sample("mu", nd.Normal(*normal("mu")))
        numpyro.sample("tau", nd.LogNormal(*normal("tau")))
        eta = normal("eta", SCHOOLS)
        with numpyro.plate("schools", SCHOOLS):
            numpyro.sample("eta", nd.Normal(*eta))

    return model, guide


def start() -> dict[str, Tensor]:
    """Unconstrained parameters."""
    shapes = {"mu": (), "tau": (), "eta": (SCHOOLS,)}
    locs = {f"{name}_loc": torch.zeros(shape) for name, shape in shapes.items()}
    log_scale = math.log(SCALE)
    scales = {f"{n}_scale": torch.full(s, log_scale) for n, s in shapes.items()}
    return locs | scales


def loss(params: dict[str, Tensor], particles: int) -> Tensor:
    """In plain torch."""
    noise = {name: torch.randn(particles, 1) for name in ("mu", "tau")}
    noise["eta"] = torch.randn(particles, SCHOOLS)
    draws = {
        name: params[f"{name}_loc"] + params[f"{name}_scale"].exp() * drawn
        for name, drawn in noise.items()
    }
    mu, log_tau, eta = draws["mu"], draws["tau"], draws["eta"]
    tau = log_tau.exp()
    log_q = -sum(
        (drawn**2 / 2 + math.log(2 * math.pi) / 2 + params[f"{name}_scale"]).sum(-1)
        for name, drawn in noise.items()
    )
    log_q = log_q - log_tau.squeeze(-1)
    log_tau_prior = math.log(2 / (5 * math.pi)) - torch.log1p((tau / 5) ** 2)
    log_p = (
        dist.Normal(0.0, 5.0, validate_args=False).log_prob(mu).squeeze(-1)
        + log_tau_prior.squeeze(-1)
        - (eta**2 / 2 + math.log(2 * math.pi) / 2).sum(-1)
        - (
            ((EFFECTS - mu - tau * eta) / ERRORS) ** 2 / 2
            + ERRORS.log()
            + math.log(2 * math.pi) / 2
        ).sum(-1)
    )
    return (log_q - log_p).mean()


WRITTEN = Written(start, loss)
ROW = Row(
    about="Eight schools, non-centred, pathwise",
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
