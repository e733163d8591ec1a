"""What ``python -m tests.benchmarks.estimators`` measures is what it says."""

import math

import pyro
import pytest
import torch

from tests.benchmarks import rollouts
from tests.benchmarks.estimators import autoencoder, regression


@pytest.fixture
def as_timed():
    """The settings of ``python -m tests.benchmarks.estimators``."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pyro.validation_enabled(False):
        yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("length", rollouts.LENGTHS)
@pytest.mark.parametrize("kind", rollouts.KINDS)
def test_rollout(kind, length, benchmark, as_timed):
    benchmark.group = f"rollouts, {kind}"
    loss = benchmark(rollouts.steps_of(kind)[length])
    assert math.isfinite(loss)


@pytest.mark.parametrize("module", [regression, autoencoder])
def test_every_estimator_takes_steps(module, as_timed):
    pyro.set_rng_seed(0)
    losses = {name: float(step()) for name, step in module.steps().items()}
    assert all(math.isfinite(loss) for loss in losses.values()), losses


def test_variances_are_those_of_two_estimates_of_one_gradient(as_timed):
    found = regression.gradient_variances(steps=250, repeats=100)
    assert 0 < found["hybrid"] < 0.7 * found["reparameterized"]


@pytest.mark.parametrize("name", ["score_function, 2", "disarm", "rebar, not tuned"])
def test_estimators_have_the_moments_of_those_written_by_hand(name, as_timed):
    """Variances of 200 gradients with 15,000 entries are within 10% of one another."""
    torch.manual_seed(0)
    network = autoencoder.trained(steps=20)
    rows = autoencoder.rows(network)
    by_hand = {
        "score_function, 2": "leave-one-out by hand, 2",
        "disarm": "DisARM by hand",
        "rebar, not tuned": "REBAR by hand, not tuned",
    }[name]
    found = [autoencoder.moments(network, rows[r], 0, 200) for r in (name, by_hand)]
    assert 0.85 < found[0].variance / found[1].variance < 1.18
    assert found[0].off(found[1]) < 0.2
