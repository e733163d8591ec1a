"""Ratios of times: both sides in one run, in alternating blocks.

A machine that is busy for a second slows whatever runs then. Blocks that alternate are
slowed alike, the ratio is taken within each round, and the median over rounds forgets
the rounds that were hit in the middle.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch


@dataclass(frozen=True)
class Block:
    """Something that takes time.

    Args:
        call: Takes some steps.
        steps: How many.
    """

    call: Callable[[], object]
    steps: int = 1


@dataclass(frozen=True)
class Timed:
    """Seconds per step by name, one entry per round.

    Args:
        wall: Seconds that have passed.
        cpu: Seconds of this process on all cores, which others do not lengthen so much.
    """

    wall: dict[str, list[float]]
    cpu: dict[str, list[float]]

    def seconds(self, name: str) -> float:
        """Median seconds of one step."""
        return median(self.wall[name])

    def cpu_seconds(self, name: str) -> float:
        """Median seconds of one step on all cores."""
        return median(self.cpu[name])

    def ratio(self, name: str, base: str) -> tuple[float, float, float]:
        """Median, smallest and largest ratio of two times within a round."""
        pairs = zip(self.wall[name], self.wall[base], strict=True)
        ratios = [mine / its for mine, its in pairs]
        return median(ratios), min(ratios), max(ratios)


def alternate(
    blocks: Mapping[str, Block], *, seconds: float, rounds: int, warmup: int = 5
) -> Timed:
    """Time everything in blocks that alternate.

    Args:
        blocks: What to time.
        seconds: For how long a block is called again, once at least.
        rounds: How often each has its turn; the order turns round from one to the next.
        warmup: Calls of each before any counts, at least 1.
    """
    calls = {name: _calls_in(block, seconds, warmup) for name, block in blocks.items()}
    found = Timed({name: [] for name in blocks}, {name: [] for name in blocks})
    order = list(blocks.items())
    for _ in range(rounds):
        for name, block in order:
            took = block.steps * calls[name]
            start, cpu = time.perf_counter(), time.process_time()
            for _ in range(calls[name]):
                block.call()
            found.wall[name].append((time.perf_counter() - start) / took)
            found.cpu[name].append((time.process_time() - cpu) / took)
        order.reverse()
    return found


def _calls_in(block: Block, seconds: float, warmup: int) -> int:
    shortest = float("inf")
    for _ in range(warmup):
        start = time.perf_counter()
        block.call()
        shortest = min(shortest, time.perf_counter() - start)
    return max(1, round(seconds / max(shortest, 1e-6)))


def confine(cores: int) -> None:
    """Give every side of this process the same cores, before JAX is imported."""
    torch.set_num_threads(cores)
    if cores == 1:
        one = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ["XLA_FLAGS"] = one
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
