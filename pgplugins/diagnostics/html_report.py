"""Comparisons as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from pgplugins.diagnostics.detail_table import HEADINGS, DetailTable
from pgplugins.diagnostics.table import COLUMNS, LEGEND, cells, verdict

if TYPE_CHECKING:
    from pgplugins.diagnostics.result import Comparison

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: 0.3rem 0.8rem; text-align: right; white-space: nowrap;
         border-bottom: 1px solid #8886; }
th:first-child, td:first-child, td:last-child { text-align: left; }
tr.best { font-weight: bold; }
img { max-width: 100%; height: auto; background: white; }
"""


def html_report(
    comparisons: Sequence[Comparison], title: str, *, detail: bool = False
) -> str:
    """Return a page with table, plot, reference and notes of each comparison.

    Args:
        comparisons: What to show, in this order.
        title: The page's title.
        detail: Add a table of all parameters to each, folded up.
    """
    parts = [_section(comparison, detail=detail) for comparison in comparisons]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n"
        + "\n".join(parts)
        + f"\n<p>{escape(LEGEND)}</p>\n</body>\n</html>\n"
    )


def _section(comparison: Comparison, *, detail: bool) -> str:
    best = [row.estimator == comparison.best for row in comparison.rows]
    table = _table(
        [column.heading for column in COLUMNS],
        [cells(row, comparison) for row in comparison.rows],
        best,
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
    name = escape(comparison.objective)
    return (
        f"<h2>{name}</h2>\n<p>{escape(verdict(comparison))}</p>\n{table}"
        f'<p><img src="data:image/png;base64,{_picture(comparison)}" '
        f'alt="Variance against time on {name}"></p>\n'
        + (f"<ul>{notes}</ul>\n" if notes else "")
        + (_by_parameter(comparison) if detail else "")
    )


def _by_parameter(comparison: Comparison) -> str:
    rows = DetailTable(comparison).rows()
    return (
        "<details><summary>By parameter</summary>\n"
        f"{_table(HEADINGS, rows, [False] * len(rows))}</details>\n"
    )


def _table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], best: Sequence[bool]
) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "\n".join(
        f"<tr{' class=best' if is_best else ''}>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for row, is_best in zip(rows, best, strict=True)
    )
    return f'<div class="wide"><table>\n<tr>{head}</tr>\n{body}\n</table></div>\n'


def _picture(comparison: Comparison) -> str:
    figure = Figure(figsize=(7.0, 5.0), layout="constrained")
    comparison.plot(figure.add_subplot())
    out = BytesIO()
    figure.savefig(out, format="png", dpi=120)
    return base64.b64encode(out.getvalue()).decode()
