"""How far a process grows, as Linux counts it: alike for torch and JAX."""

from __future__ import annotations

import ctypes
import gc
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyro

from tests.benchmarks.ratio import confine
from tests.benchmarks.rows import ADAM, Build

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
HERE = RESET.exists()
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Environment in which freed memory goes back, so that what a step takes is seen."""


@dataclass(frozen=True)
class Memory:
    """Bytes of resident memory.

    Args:
        step: What steps take beyond what the process holds before and after them.
        total: What building, compiling and stepping take at most beyond the process
            with its libraries imported.
    """

    step: int
    total: int


def memory_of(build: Build, particles: int, cores: int) -> Memory:
    """Measure one side in a process that has done nothing else.

    Blocks under 64 KiB are kept by the allocator, and not seen again.
    """
    confine(cores)
    pyro.enable_validation(False)
    warnings.simplefilter("ignore")
    _settle()
    before = _resident("VmRSS")
    steps = build(particles, ADAM)
    for _ in range(3):
        steps.step()
    total = _resident("VmHWM") - before
    return Memory(growth(steps.step, 5), total)


def growth(step: Callable[[], object], times: int) -> int:
    """Return by how many bytes the process grows at most during some steps."""
    _settle()
    before = _resident("VmRSS")
    for _ in range(times):
        step()
    return max(0, _resident("VmHWM") - before)


def _settle() -> None:
    """Give back what is free, and let the high-water mark start anew."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    RESET.write_text("5")


def _resident(entry: str) -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{entry}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {entry} in {STATUS}")
