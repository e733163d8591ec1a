"""Print the table of speed: ``python -m tests.benchmarks``."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import click
from rich.console import Console
from rich.progress import Progress

from tests.benchmarks import memory
from tests.benchmarks.measure import Case, Result, measure, measure_memory
from tests.benchmarks.report import behind, left_out, table_of
from tests.benchmarks.table import ROWS

T = TypeVar("T")
WIDTH = 150


class Numbers(click.ParamType):
    """Positive integers with commas between them."""

    name = "numbers"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """Read them."""
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(int(part) for part in value.split(","))
        except ValueError:
            found = (0,)
        if min(found) < 1:
            self.fail(f"{value!r} is not a list of positive integers, like 1,16", param)
        return found


def apart(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call a function in a process that has done nothing before."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        return pool.submit(function, *args, **kwargs).result()


def with_memory(results: list[Result]) -> Iterator[Result]:
    """Add to each line what its side holds."""
    for result in results:
        if result.step is None:
            yield result
        else:
            # The allocator takes its settings from where a process starts; they
            # slow it down, so what is timed goes without.
            with patch.dict(os.environ, memory.ALLOCATOR):
                held = apart(measure_memory, result.case, result.side)
            yield replace(result, memory=held)


@click.command(context_settings={"max_content_width": 88})
@click.option("--only", multiple=True, type=click.Choice([*ROWS]), help="This row.")
@click.option("--particles", type=Numbers(), default=(1, 16), help="1,16 by default.")
@click.option("--cores", type=Numbers(), default=(1,), help="1 by default; 1,2.")
@click.option("--seconds", default=0.1, show_default=True, help="Of one block.")
@click.option("--rounds", default=7, show_default=True, help="Blocks of each side.")
@click.option("--whole-runs", is_flag=True, help="Many steps in one call as well.")
@click.option("--memory", "with_peak", is_flag=True, help="Peak memory as well.")
@click.option("--json", "path", type=click.Path(dir_okay=False, path_type=Path))
def main(
    only: tuple[str, ...],
    particles: tuple[int, ...],
    cores: tuple[int, ...],
    seconds: float,
    rounds: int,
    whole_runs: bool,
    with_peak: bool,
    path: Path | None,
) -> None:
    """Time a step of inference, ours and everybody's, in alternating blocks.

    A ratio above 1 is in our favour: the side takes that many times the time of a
    compiled step (or an eager one) of this library.
    """
    if with_peak and not memory.HERE:
        raise click.UsageError("--memory reads /proc/self/clear_refs, as Linux has it.")
    console = Console()
    # In a file nobody drags the window wider.
    console.width = max(console.width, 0 if console.is_terminal else WIDTH)
    cases = [
        Case(row, number, count)
        for row in only or ROWS
        for count in cores
        for number in (particles if ROWS[row].samples else (1,))
    ]
    results: list[Result] = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=len(cases))
        for case in cases:
            shown = f"{case.row}, {case.particles} particles, {case.cores} cores"
            progress.update(task, description=shown)
            try:
                found = apart(
                    measure, case, seconds=seconds, rounds=rounds, whole_runs=whole_runs
                )
            except BrokenProcessPool:
                found = [Result(case, "all", error="the process died: no memory left?")]
            found = list(with_memory(found)) if with_peak else found
            results += found
            console.print(table_of(found))
            if path is not None:
                written = [asdict(result) for result in results]
                path.write_text(json.dumps(written, indent=1) + "\n")
            progress.advance(task)
    for line in (*left_out(results), *behind(results)):
        console.print(line, highlight=False)


if __name__ == "__main__":
    main()
