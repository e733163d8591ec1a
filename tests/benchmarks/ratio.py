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

Step = Callable[[], object]


@dataclass(frozen=True)
class Timed:
    """Seconds per call by name, one entry per round."""

    rounds: dict[str, list[float]]

    def seconds(self, name: str) -> float:
        """Median seconds of one call."""
        return median(self.rounds[name])

    def ratio(self, name: str, base: str) -> tuple[float, float, float]:
        """Median, smallest and largest ratio of two times within a round."""
        pairs = zip(self.rounds[name], self.rounds[base], strict=True)
        ratios = [mine / its for mine, its in pairs]
        return median(ratios), min(ratios), max(ratios)


def alternate(
    steps: Mapping[str, Step], *, seconds: float, rounds: int, warmup: int = 5
) -> Timed:
    """Time every step in blocks that alternate.

    Args:
        steps: Functions of no arguments.
        seconds: Length of one block.
        rounds: Blocks of each step; the order turns round from one to the next.
        warmup: Calls of each step before any counts, at least 1.
    """
    calls = {name: _calls_in(step, seconds, warmup) for name, step in steps.items()}
    found: dict[str, list[float]] = {name: [] for name in steps}
    order = list(steps.items())
    for _ in range(rounds):
        for name, step in order:
            start = time.perf_counter()
            for _ in range(calls[name]):
                step()
            found[name].append((time.perf_counter() - start) / calls[name])
        order.reverse()
    return Timed(found)


def _calls_in(step: Step, seconds: float, warmup: int) -> int:
    elapsed = 0.0
    for _ in range(warmup):
        start = time.perf_counter()
        step()
        elapsed = time.perf_counter() - start
    return max(3, round(seconds / max(elapsed, 1e-6)))


def one_core() -> None:
    """Give every side the same single core."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
