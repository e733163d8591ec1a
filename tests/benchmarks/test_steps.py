"""Each workload under pytest-benchmark, for its statistics and its history.

``python -m pytest`` runs every step once and times nothing (``--benchmark-disable`` in
pyproject.toml). ``python -m pytest tests/benchmarks --benchmark-enable`` times them.
``python -m tests.benchmarks`` prints ratios, which a busy machine disturbs less.
"""

import math

import pyro
import pytest
import torch

from tests.benchmarks import rollouts, vae
from tests.benchmarks.ratio import Timed, alternate
from tests.benchmarks.workloads import WORKLOADS, gradient_variances

NAMES = [
    ("eager", "Trace_ELBO"),
    ("eager", "pg.ELBO"),
    ("discrete", "Trace_ELBO"),
    ("discrete", "TraceGraph_ELBO"),
    ("discrete", "pg.ELBO"),
    ("discrete", "pg.ELBO, static"),
    ("hybrid", "reparameterized"),
    ("hybrid", "hybrid"),
    ("autoencoder", "leave-one-out by hand, 2"),
    ("autoencoder", "DisARM by hand"),
    ("autoencoder", "REBAR by hand, not tuned"),
    *(("autoencoder", name) for name in vae.ESTIMATORS),
]


@pytest.fixture
def as_timed():
    """The settings of ``python -m tests.benchmarks``."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pyro.validation_enabled(False):
        yield
    torch.set_num_threads(threads)


def test_every_step_has_a_benchmark():
    found = [(w, step) for w, make in WORKLOADS.items() for step in make()]
    assert NAMES == [f for f in found if not f[1].startswith("Storchastic")]


@pytest.mark.parametrize(("workload", "name"), NAMES)
def test_step(workload, name, benchmark, as_timed):
    benchmark.group = workload
    loss = benchmark(WORKLOADS[workload]()[name])
    assert math.isfinite(loss)


@pytest.mark.parametrize("length", rollouts.LENGTHS)
@pytest.mark.parametrize("kind", rollouts.KINDS)
def test_rollout(kind, length, benchmark, as_timed):
    benchmark.group = f"rollouts, {kind}"
    loss = benchmark(rollouts.steps_of(kind)[length])
    assert math.isfinite(loss)


def test_both_sides_take_turns():
    calls = []
    steps = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    timed = alternate(steps, seconds=0.0, rounds=3, warmup=1)
    assert "".join(calls) == "ab" + "aaabbb" + "bbbaaa" + "aaabbb"
    assert [len(entries) for entries in timed.rounds.values()] == [3, 3]


def test_a_ratio_is_taken_within_each_round():
    timed = Timed({"a": [2.0, 30.0, 4.0], "b": [1.0, 10.0, 1.0]})
    assert timed.ratio("a", "b") == (3.0, 2.0, 4.0)
    assert timed.seconds("b") == 1.0


def test_variances_are_those_of_two_estimates_of_one_gradient(as_timed):
    found = gradient_variances(steps=250, repeats=100)
    assert 0 < found["hybrid"] < 0.7 * found["reparameterized"]


@pytest.mark.parametrize("name", ["score_function, 2", "disarm", "rebar, not tuned"])
def test_estimators_have_the_moments_of_those_written_by_hand(name, as_timed):
    """Variances of 200 gradients with 15,000 entries are within 10% of one another."""
    torch.manual_seed(0)
    network = vae.trained(steps=20)
    rows = vae.rows(network)
    by_hand = {
        "score_function, 2": "leave-one-out by hand, 2",
        "disarm": "DisARM by hand",
        "rebar, not tuned": "REBAR by hand, not tuned",
    }[name]
    found = [vae.moments(network, rows[r], 0, 200) for r in (name, by_hand)]
    assert 0.85 < found[0].variance / found[1].variance < 1.18
    assert found[0].off(found[1]) < 0.2
