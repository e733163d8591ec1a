"""Comparisons as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from pgplugins.diagnostics.table import HEADINGS, LEGEND, cells, verdict

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


def html_report(comparisons: Sequence[Comparison], title: str) -> str:
    """Return a page with table, plot, reference and notes of each comparison.

    Args:
        comparisons: What to show, in this order.
        title: The page's title.
    """
    parts = [_section(comparison) for comparison in comparisons]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n"
        + "\n".join(parts)
        + f"\n<p>{escape(LEGEND)}</p>\n</body>\n</html>\n"
    )


def _section(comparison: Comparison) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in HEADINGS)
    rows = "\n".join(
        f"<tr{' class=best' if row.estimator == comparison.best else ''}>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells(row, comparison.best))
        + "</tr>"
        for row in comparison.rows
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
    name = escape(comparison.objective)
    return (
        f"<h2>{name}</h2>\n<p>{escape(verdict(comparison))}</p>\n"
        f'<div class="wide"><table>\n<tr>{head}</tr>\n{rows}\n</table></div>\n'
        f'<p><img src="data:image/png;base64,{_picture(comparison)}" '
        f'alt="Variance against time on {name}"></p>\n'
        + (f"<ul>{notes}</ul>\n" if notes else "")
    )


def _picture(comparison: Comparison) -> str:
    figure = Figure(figsize=(7.0, 5.0), layout="constrained")
    comparison.plot(figure.add_subplot())
    out = BytesIO()
    figure.savefig(out, format="png", dpi=120)
    return base64.b64encode(out.getvalue()).decode()
