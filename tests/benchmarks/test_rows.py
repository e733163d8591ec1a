"""Every row once: all its sides agree on the loss, and those by hand on the gradient.

``python -m pytest`` times nothing (``--benchmark-disable`` in pyproject.toml). With
``python -m pytest tests/benchmarks --benchmark-enable`` pytest-benchmark keeps a
history; ``python -m tests.benchmarks`` prints ratios, which a busy machine disturbs
less.
"""

import math

import pyro
import pytest
import torch
from scipy import stats

from tests.benchmarks.rows import (
    COMPILED,
    HAND,
    HAND_COMPILED,
    NUMPYRO,
    PEERS,
    STORCHASTIC,
)
from tests.benchmarks.sides import in_numpyro, in_storchastic
from tests.benchmarks.table import ROWS
from tests.statistics import FALSE_FAILURES, flat_gradient

SLOW = {COMPILED, HAND_COMPILED, NUMPYRO}
"""Those that compile for seconds: on one row each."""
COMPILE = {("eight-schools", side) for side in SLOW}
SIDES = [
    (name, side)
    for name, row in ROWS.items()
    for side in row.sides
    if side not in SLOW or (name, side) in COMPILE
]
PARTICLES = {"lqr-pathwise": 512, "lqr-score": 512, "state-space": 64}
"""So many see an error of a tenth in a gradient; 16 elsewhere."""
STILL = 1e-12
"""A learning rate at which nothing moves."""


@pytest.fixture(autouse=True)
def as_timed():
    """The settings of ``python -m tests.benchmarks``."""
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    with pyro.validation_enabled(False):
        yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)


def assert_same_mean(one, other, share):
    """Two samples of one mean, by coordinate, and with power for that share of it."""
    (a, b) = (s.reshape(len(s), -1).double() for s in (one, other))
    size = b.mean(0).norm()
    # What rounding in single precision does to gradients of no noise at all.
    error = (a.var(0) / len(a) + b.var(0) / len(b) + (1e-5 * size) ** 2).sqrt()
    count = min(len(s) for s in (one, other))
    allowed = stats.t.isf(FALSE_FAILURES / (2 * error.numel()), count - 1)
    typical = error.norm() / math.sqrt(error.numel())
    assert share * size >= (allowed + 3) * typical, "too few samples"
    z = ((a.mean(0) - b.mean(0)) / error).abs().max()
    assert z < allowed, f"|z| {z:.1f} over {allowed:.1f}"


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_all_sides_take_the_same_step(name, side, benchmark):
    """The loss before it, to 10% of what it is."""
    row = ROWS[name]
    pyro.set_rng_seed(0)
    by_hand, params = row.written.loss, row.written.start()
    expected = torch.stack([by_hand(params, 16) for _ in range(200)])
    steps = row.sides[side](64 if row.samples else 1, STILL)
    benchmark.group = name
    benchmark(steps.step)
    found = torch.tensor([float(steps.step()) for _ in range(16)])
    assert_same_mean(found, expected, 0.1)


@pytest.mark.parametrize(
    ("name", "side"), [entry for entry in sorted(COMPILE) if entry[1] != HAND_COMPILED]
)
def test_a_run_is_that_many_steps(name, side):
    row = ROWS[name]
    if side not in row.sides:
        pytest.skip("not installed")
    run = row.sides[side](16, STILL).run
    found = torch.tensor([float(loss) for loss in run(300)])
    params = row.written.start()
    expected = torch.stack([row.written.loss(params, 16) for _ in range(200)])
    assert len(found) == 300
    assert_same_mean(found, expected, 0.1)


@pytest.mark.parametrize("name", ROWS)
def test_gradients_by_hand_have_the_mean_of_ours(name):
    """In every tensor of parameters, along its gradient."""
    row = ROWS[name]
    pyro.set_rng_seed(0)
    particles = PARTICLES.get(name, 16) if row.samples else 1
    loss, own = row.objective(particles)
    theirs, params = gradients_by_hand(row, particles, 330 if row.samples else 5)
    assert {n: p.shape for n, p in own.items()} == {
        n: p.shape for n, p in params.items()
    }
    ordered = [own[n] for n in params]
    count = 150 if row.samples else 4
    ours = torch.stack([flat_gradient(loss(), ordered) for _ in range(count)])
    direction = projections(theirs[: len(theirs) // 8 + 1], params)
    rest = theirs[len(theirs) // 8 + 1 :]
    assert_same_mean(ours @ direction, rest @ direction, 0.1)


@pytest.mark.parametrize("name", ["vae-score", "state-space", "lqr-score"])
def test_leaving_one_of_two_out_leaves_the_mean(name):
    """Without its factor two the gradient would be half as long."""
    row = ROWS[name]
    pyro.set_rng_seed(0)
    many, _ = gradients_by_hand(row, 64, 400)
    two, _ = gradients_by_hand(row, 2, 1500)
    direction = many[:200].mean(0, keepdim=True).T
    assert_same_mean(two @ direction, many[200:] @ direction, 0.4)


def gradients_by_hand(row, particles, count):
    params = {n: p.requires_grad_() for n, p in row.written.start().items()}
    leaves = list(params.values())
    found = [
        flat_gradient(row.written.loss(params, particles), leaves) for _ in range(count)
    ]
    return torch.stack(found), params


def projections(gradients, params):
    """A direction for every tensor of parameters, from other gradients."""
    mean, columns, begin = gradients.mean(0), [], 0
    for param in params.values():
        column = torch.zeros_like(mean)
        part = slice(begin, begin + param.numel())
        column[part] = mean[part] / mean[part].norm().clamp_min(1e-12)
        columns.append(column)
        begin += param.numel()
    return torch.stack(columns, 1)


def test_every_peer_has_a_side_or_a_reason():
    missing = {
        (name, peer)
        for name, row in ROWS.items()
        for peer in PEERS
        if peer not in row.sides and peer not in row.left_out
    }
    optional = {NUMPYRO: in_numpyro.HERE, STORCHASTIC: in_storchastic.HERE}
    assert all(not optional.get(peer, True) for _, peer in missing), missing
    assert HAND in PEERS
