"""The table of a comparison, and the sentences under it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

from rich.box import ROUNDED, Box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from pgplugins.diagnostics.intervals import Interval

if TYPE_CHECKING:
    from pgplugins.diagnostics.result import Comparison, Row

LEGEND = (
    "How to read this: bias z is the worst coordinate's deviation from the reference, "
    "in standard errors; what chance cannot explain is marked. Variance is the noise "
    "of one gradient, all coordinates together, and SNR the gradient's norm over its "
    "root. Time is what one call takes on this machine, memory what its tensors hold "
    "at most. Efficiency = 1 / (variance x time): how fast averaging gets precise. "
    "± is the 95% interval."
)
WIDTH = 100
"""Of plain text."""


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Args:
        heading: What stands on top.
        cell: What stands in a row, of all that the comparison found.
        left: Whether it is aligned to the left.
        optional: Whether it may be left out where it does not fit.
    """

    heading: str
    cell: Callable[[Row, Comparison], str]
    left: bool = False
    optional: bool = False


COLUMNS = (
    Column("estimator", lambda row, _: row.estimator, left=True),
    Column("bias z", lambda row, _: f"{row.bias_z:+.1f}"),
    Column("SNR", lambda row, _: f"{row.snr:.2g}", optional=True),
    Column("variance", lambda row, _: spread(row.variance, row.variance_interval)),
    Column(
        "time",
        lambda row, _: (
            f"{1e3 * row.seconds:.3g} ms {margin(row.seconds, row.seconds_interval)}"
        ),
    ),
    Column("memory", lambda row, _: in_bytes(row.memory), optional=True),
    Column("efficiency", lambda row, _: f"{row.efficiency:.3g}"),
    Column("", lambda row, comparison: remark(row, comparison), left=True),
)


class PlainText(ABC):
    """What rich renders on a terminal, and ``str`` as plain text."""

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        """Render with a frame."""
        yield from self._parts(ROUNDED, console, options)

    def __str__(self) -> str:
        """As plain text."""
        out = StringIO()
        console = Console(file=out, width=WIDTH, color_system=None, highlight=False)
        for part in self._parts(None, console, console.options):
            console.print(part, markup=False)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())

    @abstractmethod
    def _parts(
        self, box: Box | None, console: Console, options: ConsoleOptions
    ) -> Sequence[RenderableType]: ...


class ComparisonTable(PlainText):
    """A comparison as a table, with what it comes to and the notes under it.

    Where memory and SNR do not fit, they are left out.

    Args:
        comparison: What to show.
    """

    def __init__(self, comparison: Comparison) -> None:
        """Keep the comparison."""
        self._comparison = comparison

    def _parts(
        self, box: Box | None, console: Console, options: ConsoleOptions
    ) -> Sequence[RenderableType]:
        columns = list(COLUMNS)
        # The last of those that may go is the first to go.
        spare = [column for column in columns if column.optional]
        while spare:
            table = self._table(columns, box)
            widest = Measurement.get(
                console, options.update(max_width=10_000), table
            ).maximum
            if widest <= options.max_width:
                break
            columns.remove(spare.pop())
        notes = [Text(f"Note: {note}") for note in self._comparison.notes]
        verdict_ = Text(verdict(self._comparison))
        return [self._table(columns, box), Text(), verdict_, *notes]

    def _table(self, columns: Sequence[Column], box: Box | None) -> Table:
        table = new_table(self._comparison.objective, box)
        for column in columns:
            table.add_column(column.heading, justify="left" if column.left else "right")
        for row in self._comparison.rows:
            table.add_row(*cells(row, self._comparison, columns))
        return table


def new_table(title: str, box: Box | None) -> Table:
    """A table without columns."""
    return Table(
        title=Text(title), title_justify="left", box=box, pad_edge=box is not None
    )


def cells(
    row: Row, comparison: Comparison, columns: Sequence[Column] = COLUMNS
) -> list[str]:
    """What stands in a row under each of the columns."""
    return [column.cell(row, comparison) for column in columns]


def verdict(comparison: Comparison) -> str:
    """Say who won and by how much, or that it is too close to call."""
    limit = max(row.bias_limit for row in comparison.rows)
    against = (
        f"Bias is measured against {comparison.reference}; beyond ±{limit:.1f}, bias z "
        "is no chance."
    )
    ranked, leaders = comparison.ranked, comparison.leaders
    if not ranked:
        return f"Every estimator is biased here; none can be recommended. {against}"
    best, *others = ranked
    if not others:
        return f"{best.estimator} is the only one without bias. {against}"
    if math.isinf(best.efficiency):
        exact = [row.estimator for row in ranked if math.isinf(row.efficiency)]
        if len(exact) > 1:
            return f"{_listed(exact)} are exact: they have no variance. {against}"
        return f"{best.estimator} is exact: it has no variance. {against}"
    if len(leaders) > 1:
        names = _listed([row.estimator for row in leaders])
        return (
            f"{names} are too close to call: their intervals of the efficiency overlap "
            f"with that of {best.estimator}, which is ahead. {against}"
        )
    second = others[0]
    return (
        f"{best.estimator} wins: {_times(best.efficiency / second.efficiency)} as "
        f"efficient as {second.estimator}, with "
        f"{_times(best.variance / second.variance)} its variance in "
        f"{_times(best.seconds / second.seconds)} its time. {against}"
    )


def spread(value: float, interval: Interval) -> str:
    """A figure and its interval."""
    return f"{value:.3g} {margin(value, interval)}"


def margin(value: float, interval: Interval) -> str:
    """Half the width of an interval, to the longer side, in percent."""
    if value == 0.0:
        return "exact"
    relative = max(interval[1] - value, value - interval[0]) / value
    return f"±{100 * relative:.0f}%"


def in_bytes(count: int) -> str:
    """A number of bytes.

    Example:
        >>> in_bytes(512), in_bytes(81_920), in_bytes(3_000_000_000)
        ('512 B', '81.9 kB', '3 GB')
    """
    size, units = float(count), iter(("B", "kB", "MB", "GB"))
    unit = next(units)
    while size >= 999.5 and unit != "GB":
        size, unit = size / 1000, next(units)
    return f"{size:.3g} {unit}"


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} times" if ratio >= 100 else f"{ratio:.3g} times"


def remark(row: Row, comparison: Comparison) -> str:
    """What there is to say of a row: biased, best, or close to it."""
    if not row.unbiased:
        return "biased by design"
    if row.biased:
        return "biased here"
    leaders = comparison.leaders
    if row not in leaders:
        return ""
    if len(leaders) == 1:
        return "best"
    return "ahead, not clearly" if row is leaders[0] else "close to best"
