"""The table of a comparison parameter by parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import Box
from rich.console import Console, ConsoleOptions, RenderableType

from pgplugins.diagnostics.table import PlainText, new_table, spread

if TYPE_CHECKING:
    from pgplugins.diagnostics.detail import Detail
    from pgplugins.diagnostics.result import Comparison

HEADINGS = ("parameter", "estimator", "bias z", "variance", "SNR", "")


class DetailTable(PlainText):
    """Every parameter in turn, under each of the estimators.

    Args:
        comparison: What to show.
    """

    def __init__(self, comparison: Comparison) -> None:
        """Keep the comparison."""
        self._comparison = comparison

    def rows(self) -> list[list[str]]:
        """What stands under each of ``HEADINGS``."""
        return [
            [detail.name, *_cells(detail)]
            for detail in by_name(self._comparison.by_parameter)
        ]

    def _parts(
        self, box: Box | None, console: Console, options: ConsoleOptions
    ) -> Sequence[RenderableType]:
        table = new_table(f"{self._comparison.objective}, by parameter", box)
        for heading in HEADINGS:
            left = heading in ("parameter", "estimator", "")
            table.add_column(heading, justify="left" if left else "right")
        before = ""
        for name, *rest in self.rows():
            table.add_row("" if name == before else name, *rest)
            before = name
        return [table]


def by_name(details: Sequence[Detail]) -> list[Detail]:
    """Put the estimators of one parameter under one another."""
    order = {name: i for i, name in enumerate(dict.fromkeys(d.name for d in details))}
    return sorted(details, key=lambda detail: order[detail.name])


def _cells(detail: Detail) -> list[str]:
    low, high = detail.snr_interval
    return [
        detail.estimator,
        f"{detail.bias_z:+.1f}",
        spread(detail.variance, detail.variance_interval),
        f"{detail.snr:.2g} ({low:.2g} to {high:.2g})",
        "biased" if detail.significant else "",
    ]
