"""Bytes that are counted by hand, and by torch's own profiler."""

import gc
import warnings
from functools import partial

import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from pgplugins.diagnostics.memory import peak_memory
from tests.statistics import parameter

BYTES = 8  # of a float64


def by_profiler(step):
    """The highest sum of what torch's CPU allocator gave out and took back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        ) as profile:
            step()
    events = profile.profiler.kineto_results.events()
    sizes = sorted(
        (event.start_ns(), i, event.nbytes())
        for i, event in enumerate(events)
        if event.name() == "[memory]"
    )
    assert sizes
    held = highest = 0
    for _, _, size in sizes:
        held += size
        highest = max(highest, held)
    return highest


def test_the_backward_pass_is_counted_with_what_the_forward_pass_keeps():
    n, scale, data = 1000, parameter(1.0), torch.randn(1000, dtype=torch.float64)

    def step(*, retain_graph):
        total = (data * scale).exp().sum()
        torch.autograd.grad(total, scale, retain_graph=retain_graph)

    # The exponential, its slope's product with it, and that with the data, unless the
    # exponential has been freed by then; besides the sum, its slope and the gradient.
    for retain_graph, vectors in ((True, 3), (False, 2)):
        found = peak_memory(partial(step, retain_graph=retain_graph))
        assert found == vectors * n * BYTES + 3 * BYTES


def test_what_was_there_before_is_not_counted_and_a_view_not_twice():
    data = torch.zeros(1000, dtype=torch.float64)

    def step():
        data.reshape(10, 100).t()[3:].add_(1.0)
        kept = data + 1
        return [kept[:5], kept.reshape(10, 100), kept.detach()]

    assert peak_memory(step) == 1000 * BYTES
    assert peak_memory(lambda: None) == 0


def test_what_is_freed_makes_room():
    def step():
        x = torch.zeros(1000, dtype=torch.float64)
        for _ in range(5):
            x = x + 1

    assert peak_memory(step) == 2 * 1000 * BYTES


def test_pythons_collector_is_as_it_was():
    assert gc.isenabled()
    peak_memory(lambda: None)
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        peak_memory(lambda: 1 / 0)
    assert gc.isenabled()
    gc.disable()
    try:
        peak_memory(lambda: None)
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "name", ["reparameterized", "score_function", "hybrid", "measure_valued"]
)
def test_an_estimators_peak_is_the_profilers(name):
    """Scratch space inside an operation is what the profiler sees besides."""
    mu, chosen = parameter(0.5), pg.estimator(name)

    def step():
        loss = pg.expectation(
            torch.square, dist.Normal(mu, 1.0), estimator=chosen, num_samples=5000
        )
        torch.autograd.grad(loss, mu)

    step()  # state has its shape from here on
    assert peak_memory(step) == pytest.approx(by_profiler(step), rel=0.02)


def test_compare_says_what_more_samples_and_more_rows_take():
    logit = parameter(0.4)

    def run(samples):
        return pg.compare(
            (torch.square, lambda: dist.Bernoulli(logits=logit)),
            ["score_function", "disarm"],
            params={"logit": logit},
            num_samples=samples,
            num_runs=20,
            seed=0,
        )

    few, many, again = (
        {row.estimator: row.memory for row in run(n).rows} for n in (2000, 8000, 8000)
    )
    assert many == again
    for name in few:
        assert many[name] == pytest.approx(4 * few[name], rel=0.05)
    # Two rows of draws and costs instead of one, and no baseline.
    assert many["disarm"] != many["score_function"]
    assert min(many.values()) > 4 * 8000 * BYTES
