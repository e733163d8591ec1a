"""Each workload under pytest-benchmark, for its statistics and its history.

``python -m pytest`` runs every step once and times nothing (``--benchmark-disable`` in
pyproject.toml). ``python -m pytest tests/benchmarks --benchmark-enable`` times them.
``python -m tests.benchmarks`` prints ratios, which a busy machine disturbs less.
"""

import math

import pyro
import pytest
import torch

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
    assert NAMES == [(w, step) for w, make in WORKLOADS.items() for step in make()]


@pytest.mark.parametrize(("workload", "name"), NAMES)
def test_step(workload, name, benchmark, as_timed):
    benchmark.group = workload
    loss = benchmark(WORKLOADS[workload]()[name])
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
