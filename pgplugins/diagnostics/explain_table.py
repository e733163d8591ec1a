"""The table of an explanation, and the remarks under it."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

from rich.box import ROUNDED, Box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pgplugins.diagnostics.explain_result import ExplainedSite, Explanation, Part

LEGEND = (
    "How to read this: score is the mean cost times the gradient of the log-density at "
    "the draw held fixed; pathwise is the costs' gradient through the draw. Both "
    "estimate the same: what the site's distribution contributes. Explicit is the "
    "costs' gradient with all draws held. ± is one standard error; of a parameter "
    "with many entries the norm is shown."
)

_ROUNDING = 1e-6


class ExplanationTable:
    """An explanation as a table: rich renders it, ``str`` gives plain text.

    Args:
        explanation: What to show.
    """

    def __init__(self, explanation: Explanation) -> None:
        """Keep the explanation."""
        self._explanation = explanation

    def __rich__(self) -> Group:
        """Build the table for rich, with the remarks under it."""
        return self._build(ROUNDED)

    def __str__(self) -> str:
        """The table as plain text."""
        out = StringIO()
        Console(file=out, width=100, color_system=None).print(self._build(None))
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())

    def _build(self, box: Box | None) -> Group:
        explanation = self._explanation
        table = Table(
            title=f"{explanation.objective} ({explanation.runs:,} runs)",
            title_justify="left",
            box=box,
            pad_edge=box is not None,
        )
        for heading in ("site", "estimator", "parameter"):
            table.add_column(heading)
        for heading in ("score", "pathwise", "explicit"):
            table.add_column(heading, justify="right", no_wrap=True)
        for site in explanation.sites:
            first = [site.name, site.in_words]
            for name in site.reaches:
                table.add_row(*first, name, *_entries(site, name))
                first = ["", ""]
            if not site.reaches:
                table.add_row(*first, "none", "-", "-", "-")
        remarks: list[RenderableType] = []
        for site in explanation.sites:
            remarks += _remarks(site)
        remarks += [_indented(f"! {text}", 0) for text in explanation.warnings]
        return Group(table, Text(), *remarks)


def _remarks(site: ExplainedSite) -> list[RenderableType]:
    return [
        _indented(f"{site.name}: {site.in_words}, {site.reason}", 0),
        *(_indented(f"! {text}", 2) for text in site.warnings),
    ]


def _indented(text: str, by: int) -> Padding:
    return Padding(Text(text), (0, 0, 0, by))


def _entries(site: ExplainedSite, name: str) -> list[str]:
    parts = (site.score, site.pathwise, site.explicit)
    norms = [(p.mean[name].norm(), p.se[name].norm()) for p in parts if p is not None]
    # What cancels leaves something to rounding.
    least = _ROUNDING * max(norm.item() for pair in norms for norm in pair)
    return [_entry(part, name, least) for part in parts]


def _entry(part: Part | None, name: str, least: float) -> str:
    if part is None:
        return "none"
    mean, se = part.mean[name], part.se[name]
    if max(mean.norm().item(), se.norm().item()) <= least:
        return "0"
    if mean.numel() == 1:
        return f"{mean.item():.3g} ±{se.item():.2g}"
    return f"|{mean.norm().item():.3g}| ±{se.norm().item():.2g}"
