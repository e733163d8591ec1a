"""A row, a number of particles, a number of cores: measured in a process."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

import pyro

from tests.benchmarks.memory import Memory, memory_of
from tests.benchmarks.ratio import Block, Timed, alternate, confine
from tests.benchmarks.rows import ADAM, COMPILED, OURS, Steps
from tests.benchmarks.table import ROWS

LONGEST = 2000
"""Steps of a whole run."""


@dataclass(frozen=True)
class Case:
    """What is measured together."""

    row: str
    particles: int
    cores: int


@dataclass(frozen=True)
class Ratio:
    """A time over another: median, smallest and largest over the rounds."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Time:
    """Of one step; the ratios are to our two sides."""

    seconds: float
    cpu_seconds: float
    over_compiled: Ratio
    over_eager: Ratio


@dataclass(frozen=True)
class Result:
    """A line of the table.

    Args:
        case: What was measured.
        side: Who.
        first_seconds: Building it and the first two steps, with all compiling.
        step: A step at a time.
        run: Whole runs; ``None`` where nobody asked.
        run_steps: The steps of one run.
        memory: ``None`` where nobody asked.
        error: Why there is nothing.
    """

    case: Case
    side: str
    first_seconds: float | None = None
    step: Time | None = None
    run: Time | None = None
    run_steps: int | None = None
    memory: Memory | None = None
    error: str | None = None


def measure(
    case: Case, *, seconds: float, rounds: int, whole_runs: bool
) -> list[Result]:
    """Time all sides of a case against one another."""
    confine(case.cores)
    # As in a finished program: all sides check less.
    pyro.enable_validation(False)
    # Peers' own warnings, once per step.
    warnings.simplefilter("ignore")
    built: dict[str, Steps] = {}
    first: dict[str, float] = {}
    failed: list[Result] = []
    for side, build in ROWS[case.row].sides.items():
        pyro.set_rng_seed(0)
        start = time.perf_counter()
        try:
            steps = build(case.particles, ADAM)
            steps.step()
            steps.step()
        except Exception as error:  # Whoever fails is a line, and the others go on.
            failed.append(Result(case, side, error=f"{type(error).__name__}: {error}"))
            continue
        first[side] = time.perf_counter() - start
        built[side] = steps
    if not {OURS, COMPILED} <= built.keys():  # Then there is nothing to hold against.
        return failed
    stepped = alternate(
        {side: Block(steps.step) for side, steps in built.items()},
        seconds=seconds,
        rounds=rounds,
    )
    fitting = round(seconds / stepped.seconds(COMPILED))
    length = min(max(10, fitting), LONGEST)
    run = None
    if whole_runs:
        blocks = {side: _whole_run(steps, length) for side, steps in built.items()}
        run = alternate(blocks, seconds=seconds, rounds=rounds, warmup=2)
    return failed + [
        Result(
            case,
            side,
            first[side],
            _time(stepped, side),
            None if run is None else _time(run, side),
            None if run is None else length,
        )
        for side in built
    ]


def measure_memory(case: Case, side: str) -> Memory:
    """Measure what one side of a case holds."""
    return memory_of(ROWS[case.row].sides[side], case.particles, case.cores)


def _whole_run(steps: Steps, length: int) -> Block:
    run = steps.run
    # Whoever has nothing of the kind goes on a step at a time, however many.
    return Block(steps.step) if run is None else Block(lambda: run(length), length)


def _time(timed: Timed, side: str) -> Time:
    return Time(
        timed.seconds(side),
        timed.cpu_seconds(side),
        Ratio(*timed.ratio(side, COMPILED)),
        Ratio(*timed.ratio(side, OURS)),
    )
