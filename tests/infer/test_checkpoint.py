"""A run that is resumed from a checkpoint goes on exactly as it would have."""

from __future__ import annotations

import io
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg

DATA = torch.tensor([2.0, 0.0, 1.0])


def discrete_model() -> None:
    with pyro.plate("N", 3):
        z = pyro.sample("z.1", dist.Bernoulli(0.3))
        pyro.sample("x", dist.Normal(2 * z, 1.0), obs=DATA)


def discrete_guide() -> None:
    logits = pyro.param("logits", torch.zeros(3))
    with pyro.plate("N", 3):
        pyro.sample("z.1", dist.Bernoulli(logits=logits))


def continuous_model() -> None:
    with pyro.plate("N", 3):
        z = pyro.sample("z.1", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z**2, 1.0), obs=DATA)


def continuous_guide() -> None:
    loc = pyro.param("loc", torch.zeros(3))
    with pyro.plate("N", 3):
        pyro.sample("z.1", dist.Normal(loc, 0.5))


def gradients(elbo: pg.ELBO, model: Any, guide: Any, runs: int) -> torch.Tensor:
    params = list(dict(pyro.get_param_store().named_parameters()).values())[:1]
    return torch.stack(
        [
            torch.autograd.grad(elbo.differentiable_loss(model, guide), params)[0]
            for _ in range(runs)
        ]
    )


@pytest.mark.parametrize(
    ("estimator", "model", "guide"),
    [
        ("moving_average", discrete_model, discrete_guide),
        ("neural", discrete_model, discrete_guide),
        ("hybrid", continuous_model, continuous_guide),
        ("auto", discrete_model, discrete_guide),
        ("auto", continuous_model, continuous_guide),
    ],
)
def test_resumed_run_equals_the_uninterrupted_one(
    estimator: str, model: Any, guide: Any
) -> None:
    def fresh() -> pg.ELBO:
        chosen = (
            pg.estimator(estimator)
            if estimator in ("hybrid", "auto")
            else pg.estimator("score_function", baseline=estimator)
        )
        return pg.ELBO(
            num_particles=4,
            vectorize_particles=True,
            max_plate_nesting=1,
            estimators=chosen,
        )

    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    elbo = fresh()
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), elbo)
    for _ in range(40):
        svi.step()
    file = io.BytesIO()
    torch.save(elbo.state_dict(), file)
    file.seek(0)
    resumed = fresh()
    resumed.load_state_dict(torch.load(file))
    pyro.set_rng_seed(1)
    went_on = gradients(elbo, model, guide, 20)
    pyro.set_rng_seed(1)
    assert torch.equal(gradients(resumed, model, guide, 20), went_on)
    # Without the checkpoint the gradients differ, so the state matters here.
    pyro.set_rng_seed(1)
    assert not torch.equal(gradients(fresh(), model, guide, 20), went_on)
