"""Three processes with gloo, started once by torchrun, against one process."""

import json
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.distributed import cases

RANKS = 3
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def torchrun(size, *program):
    """What a program prints that runs on as many ranks."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*torchrun, "--nproc_per_node", str(size), *program],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def ranks():
    """What every rank has found."""
    return json.loads(torchrun(RANKS, "-m", "tests.distributed.worker"))


@pytest.fixture(scope="module")
def one_process():
    """What a single process finds on the particles of all ranks."""
    usual = torch.get_default_dtype()
    try:
        return cases.run_all(0, 1)
    finally:
        torch.set_default_dtype(usual)


@pytest.fixture
def shown(ranks, request):
    """What the behaviour that a test is named after has shown, rank by rank."""
    name = request.node.name.removeprefix("test_")
    return [rank["behaviour"][name] for rank in ranks]


@pytest.mark.parametrize("name", cases.CASES)
def test_ranks_find_what_one_process_finds(ranks, one_process, name):
    expected = one_process[name]
    assert all(isinstance(x, float) and math.isfinite(x) for x in expected)
    for rank in ranks:
        assert len(rank["cases"][name]) == len(expected), rank["cases"][name]
        assert rank["cases"][name] == pytest.approx(expected, rel=1e-11, abs=1e-11)
    # Not a bit between them: they would drift apart.
    assert all(rank["cases"][name] == ranks[0]["cases"][name] for rank in ranks)


def test_the_cases_learn_something(one_process):
    """Estimators with a past have used it, so that the comparison is about it."""
    assert len(one_process["hybrid"]) > 1000
    losses = one_process["importance_weighted"][:3]
    assert len(set(losses)) == 3


def test_own_draws(shown):
    for first, again in shown:
        assert first == again  # with the seed
    drawn = [tuple(x) for first, _ in shown for x in first[0]]
    assert len(set(drawn)) == 2 * RANKS
    assert sum(map(len, drawn)) == 2 * (2 * RANKS + 1)
    outside, losses = zip(*[first[1:] for first, _ in shown], strict=True)
    assert outside[0] == outside[1] == outside[2]
    assert losses[0] == losses[1] == losses[2]


def test_common_subsamples(shown):
    assert shown[0] == shown[1] == shown[2]
    first, in_model, second, _ = shown[0]
    assert first == in_model
    assert first != second


def test_random_starts(shown):
    assert shown[0] == shown[1] == shown[2]
    names = shown[0][1]
    assert any("cov_factor" in name for name in names)
    assert any("network" in name for name in names)


def test_unequal_parameters(shown):
    for told in shown:
        assert told.startswith("DistributedError: Parameter 'loc' differs")


def test_a_rank_that_fails(shown):
    assert shown[1] == "OSError: no such file"
    for told in (shown[0], shown[2]):
        assert told.startswith("DistributedError: Rank 1 has failed: OSError: no such")


def test_a_rank_that_fails_in_a_surrogate(shown):
    assert shown[1].startswith("ShapeError")
    for told in (shown[0], shown[2]):
        assert told.startswith("DistributedError: Rank 1 has failed: ShapeError")


def test_a_member_alone_on_all_ranks(shown):
    assert shown[1].startswith("InputError: pg.rl.leave_one_out: member 1 of group 7")
    for told in (shown[0], shown[2]):
        assert told.startswith("DistributedError: Rank 1 has failed: InputError")


def test_steps_that_differ(shown):
    for told in shown:
        assert told.startswith("DistributedError: The ranks have parted")
        assert "the sums over groups" in told


def test_one_value_on_all_ranks(shown):
    for told in shown:
        assert told.startswith("InputError: pg.rl.normalized: 1 value counts")


def test_ranks_that_part(shown):
    for told in shown:
        assert told.startswith("DistributedError: The ranks have parted")
        assert "rank 0: the other particles' costs at site 'z'" in told
        assert "rank 1: the other particles' costs at site 'another'" in told


def test_an_estimator_that_does_not_pool(shown):
    for told in shown:
        assert told.startswith("DistributedError: Estimator of site 'z' differs")
        assert "draw.pool" in told


def test_a_parameter_that_one_rank_meets(shown):
    assert shown[0] == shown[1] == shown[2]
    assert shown[0]["shift"] != [0.2]


def test_a_parameter_that_one_rank_has(shown):
    assert shown[0].startswith("DistributedError: Rank 1 has failed: ProgramError")
    for told in shown[1:]:
        assert told.startswith("ProgramError: Another rank has met parameter 'shift'")


def test_too_few_particles(shown):
    for told in shown:
        assert told.startswith("InputError: num_particles=2")


def test_control_flow_in_python(shown):
    assert shown[0] == shown[1] == shown[2]
    # On the way to the posterior, whose logit is log 2/3 + 2.5 * 3 - 4.5 = 2.6.
    assert 1.5 < shown[0]["logit"][0] < 3.7


def test_the_example_is_run_by_torchrun():
    example = Path(__file__).parents[2] / "examples" / "distributed.py"
    printed = torchrun(2, str(example), "--tiny")
    assert printed.startswith("64 particles on 2 ranks")
    assert re.search(r"ranks differ by +0.0e\+00$", printed, re.MULTILINE)
    last, exact = (
        float(re.search(rf"{label} +(-?[\d.]+)", printed)[1])
        for label in ("mean of the last", "minus log-evidence")
    )
    assert exact < last < exact + 0.5


ONE_RANK = """
import glob, sys, torch, pgplugins
torch.distributed.init_process_group(
    "gloo", init_method=sys.argv[1], rank=0, world_size=1
)
weight = torch.zeros(1, requires_grad=True)
optimizer = torch.optim.SGD([weight])
pgplugins.ELBO(num_particles=2, distributed=True)
import torch._dynamo  # as optimizers do
torch.distributed.destroy_process_group()
print(*(open(name).read() for name in glob.glob("/proc/self/task/*/comm")))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_a_group_that_was_destroyed_leaves_no_thread(tmp_path):
    """Threads of gloo that outlive the interpreter abort the process at times."""
    address = (tmp_path / "meeting").as_uri()
    command = [sys.executable, "-c", ONE_RANK, address]
    done = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip()
    assert "gloo" not in done.stdout


@pytest.mark.parametrize("way", ["killed", "asleep"])
def test_a_lost_rank_ends_the_other_with_an_error(way, tmp_path):
    address = (tmp_path / "meeting").as_uri()
    command = [sys.executable, "-m", "tests.distributed.lost_rank"]
    lost = subprocess.Popen([*command, "1", address, way], env=ENVIRONMENT)
    started = time.monotonic()
    try:
        other = subprocess.run(
            [*command, "0", address, way],
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            timeout=60,
            check=False,
        )
    finally:
        lost.kill()
        lost.wait()
    assert time.monotonic() - started < 60
    assert other.returncode != 0
    assert other.stdout.split() == ["0", "1", "2"][: len(other.stdout.split())]
    assert "DistributedError: Rank 0 of 2 could not exchange" in other.stderr
