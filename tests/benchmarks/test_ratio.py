import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.benchmarks.memory import ALLOCATOR, HERE
from tests.benchmarks.ratio import Block, Timed, alternate


def test_both_sides_take_turns():
    calls = []
    blocks = {name: Block(lambda name=name: calls.append(name)) for name in "ab"}
    timed = alternate(blocks, seconds=0.0, rounds=3, warmup=1)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert [len(entries) for entries in timed.wall.values()] == [3, 3]
    assert [len(entries) for entries in timed.cpu.values()] == [3, 3]


def test_a_block_counts_by_its_steps():
    waits = {"ten": Block(lambda: _spin(0.02), 10), "one": Block(lambda: _spin(0.02))}
    timed = alternate(waits, seconds=0.02, rounds=5, warmup=1)
    middle, _, _ = timed.ratio("one", "ten")
    assert 5 < middle < 20
    assert 0.01 < timed.cpu_seconds("one") < 0.04


def _spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_ratio_is_taken_within_each_round():
    timed = Timed({"a": [2.0, 30.0, 4.0], "b": [1.0, 10.0, 1.0]}, {})
    assert timed.ratio("a", "b") == (3.0, 2.0, 4.0)
    assert timed.seconds("b") == 1.0


@pytest.mark.skipif(not HERE, reason="needs /proc/self/clear_refs")
def test_growth_is_what_a_step_takes_and_gives_back():
    """64 MB, in a fresh process as in the command; a few may come or go besides."""
    code = (
        "import torch; from tests.benchmarks.memory import growth\n"
        "step = lambda: torch.ones(16_000_000, dtype=torch.float32)\n"
        "print(growth(step, 2))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **ALLOCATOR},
        capture_output=True,
        text=True,
        check=True,
    )
    assert abs(int(found.stdout) - 64e6) < 8e6
