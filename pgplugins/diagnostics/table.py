"""The table of a comparison, and the sentence under it."""

from __future__ import annotations

import math
from io import StringIO
from typing import TYPE_CHECKING

from rich.box import ROUNDED, Box
from rich.console import Console
from rich.table import Table

from pgplugins.diagnostics.statistics import Interval

if TYPE_CHECKING:
    from pgplugins.diagnostics.result import Comparison, Row

HEADINGS = ("estimator", "bias z", "variance", "time", "efficiency", "")
LEGEND = (
    "How to read this: bias z is the worst coordinate's deviation from the reference, "
    "in standard errors; what chance cannot explain is marked. Variance is the noise "
    "of one gradient, all coordinates together; time is what it takes on this machine. "
    "Less of both is better. Efficiency = 1 / (variance x time): how fast averaging "
    "gets precise. ± is the 95% interval."
)


class ComparisonTable:
    """A comparison as a table: rich renders it, ``str`` gives plain text.

    Args:
        comparison: What to show.
    """

    def __init__(self, comparison: Comparison) -> None:
        """Keep the comparison."""
        self._comparison = comparison

    def __rich__(self) -> Table:
        """Build the table for rich."""
        return self._build(ROUNDED)

    def __str__(self) -> str:
        """The table as plain text."""
        out = StringIO()
        Console(file=out, width=100, color_system=None).print(self._build(None))
        return out.getvalue()

    def _build(self, box: Box | None) -> Table:
        comparison = self._comparison
        table = Table(
            title=comparison.objective,
            title_justify="left",
            box=box,
            pad_edge=box is not None,
        )
        for heading in HEADINGS:
            outer = heading in (HEADINGS[0], HEADINGS[-1])
            table.add_column(heading, justify="left" if outer else "right")
        for row in comparison.rows:
            table.add_row(*cells(row, comparison.best))
        return table


def cells(row: Row, best: str | None) -> tuple[str, ...]:
    """What stands under each of ``HEADINGS``."""
    return (
        row.estimator,
        f"{row.bias_z:+.1f}",
        f"{row.variance:.3g} {_margin(row.variance, row.variance_interval)}",
        f"{1e3 * row.seconds:.3g} ms {_margin(row.seconds, row.seconds_interval)}",
        f"{row.efficiency:.3g}",
        _remark(row, best),
    )


def verdict(comparison: Comparison) -> str:
    """Say who won and by how much, or that it is too close to call."""
    against = f"Bias is measured against {comparison.reference}."
    ranked = comparison.ranked
    if not ranked:
        return f"Every estimator is biased here; none can be recommended. {against}"
    best, *others = ranked
    if not others:
        return f"{best.estimator} is the only one without bias. {against}"
    second = others[0]
    if math.isinf(best.efficiency):
        return f"{best.estimator} is exact: it has no variance. {against}"
    if best.efficiency_interval[0] <= second.efficiency_interval[1]:
        return (
            f"{best.estimator} and {second.estimator} are too close to call. {against}"
        )
    return (
        f"{best.estimator} wins: {_times(best.efficiency / second.efficiency)} as "
        f"efficient as {second.estimator}, with "
        f"{_times(best.variance / second.variance)} its variance in "
        f"{_times(best.seconds / second.seconds)} its time. {against}"
    )


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} times" if ratio >= 100 else f"{ratio:.3g} times"


def _margin(value: float, interval: Interval) -> str:
    if value == 0.0:
        return "exact"
    relative = max(interval[1] - value, value - interval[0]) / value
    return f"±{100 * relative:.0f}%"


def _remark(row: Row, best: str | None) -> str:
    if not row.unbiased:
        return "biased by design"
    if row.biased:
        return "biased here"
    return "best" if row.estimator == best else ""
