"""The table, what was left out of it, and where a peer is ahead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from tests.benchmarks.measure import Ratio, Result
from tests.benchmarks.rows import COMPILED, OURS, PEERS
from tests.benchmarks.table import ROWS


def table_of(results: Sequence[Result]) -> Table:
    """Lay out the sides of one case."""
    case = results[0].case
    title = (
        f"{case.row}: {ROWS[case.row].about}. {case.particles} "
        f"particle{'s' * (case.particles > 1)}, {case.cores} "
        f"core{'s' * (case.cores > 1)}"
    )
    whole_runs = any(r.run is not None for r in results)
    memory = any(r.memory is not None for r in results)
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("side", no_wrap=True)
    headings = ["first s", "step ms", "CPU ms", "/ compiled", "/ eager"]
    if whole_runs:
        steps = next(r.run_steps for r in results if r.run_steps is not None)
        headings += [f"run of {steps} ms", "/ compiled"]
    if memory:
        headings += ["step MB", "all MB"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        if result.step is None or result.first_seconds is None:
            table.add_row(result.side, Text(result.error or "", style="red"))
            continue
        step = result.step
        cells = [
            f"{result.first_seconds:.1f}",
            f"{step.seconds * 1e3:.3f}",
            f"{step.cpu_seconds * 1e3:.3f}",
            _ratio(step.over_compiled),
            f"{step.over_eager.median:.3g}",
        ]
        if whole_runs:
            run = result.run
            cells += (
                ["", ""]
                if run is None
                else [f"{run.seconds * 1e3:.4f}", _ratio(run.over_compiled)]
            )
        if memory:
            held = result.memory
            cells += (
                ["", ""]
                if held is None
                else [f"{held.step / 1e6:.1f}", f"{held.total / 1e6:.0f}"]
            )
        table.add_row(result.side, *cells, style=_style(result))
    return table


def _ratio(ratio: Ratio) -> str:
    return f"{ratio.median:.3g} ({ratio.low:.3g}-{ratio.high:.3g})"


def _style(result: Result) -> str:
    if result.side in (OURS, COMPILED):
        return "bold"
    return "red" if _is_ahead(result) else ""


def _is_ahead(result: Result) -> bool:
    return any(
        time is not None and time.over_compiled.median < 1
        for time in (result.step, result.run)
    )


def behind(results: Iterable[Result]) -> list[str]:
    """Return a line for every peer that takes less time than our compiled steps."""
    found = []
    for result in results:
        if result.side in (OURS, COMPILED):
            continue
        for what, time in (("a step", result.step), ("a run", result.run)):
            if time is not None and time.over_compiled.median < 1:
                case = result.case
                found.append(
                    f"  {case.row}, K = {case.particles}, cores {case.cores}: "
                    f"{result.side} takes {time.over_compiled.median:.2f} of our time "
                    f"for {what}"
                )
    return ["Behind a peer:", *found] if found else []


def left_out(results: Iterable[Result]) -> list[str]:
    """Return a line for every peer that has no side on a row."""
    found = []
    for row in dict.fromkeys(result.case.row for result in results):
        for peer in PEERS:
            if peer not in ROWS[row].sides:
                why = ROWS[row].left_out.get(peer, "not installed")
                found.append(f"  {row}: {peer}, {why}")
    return ["Left out:", *found] if found else []
