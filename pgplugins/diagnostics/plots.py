"""Drawing a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pgplugins.diagnostics.result import Comparison


def new_axes() -> Axes:
    """Axes in a figure of their own, which needs no window system."""
    return Figure(figsize=(6.0, 4.5), layout="constrained").add_subplot()


def draw(comparison: Comparison, ax: Axes) -> Axes:
    """Draw variance against time of one call, both logarithmic, with 95% intervals.

    Down and to the left is better; the dotted line joins all points as efficient as the
    best estimator. Crosses are biased. A triangle on the lower edge has no variance.

    Args:
        comparison: What to draw.
        ax: Where to draw.

    Returns:
        ``ax``.
    """
    ax.set_xscale("log")
    ax.set_yscale("log")
    # The times lie within a decade or two, where powers of ten alone say too little.
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("milliseconds of one call")
    ax.set_ylabel("total variance of the gradient")
    ax.set_title(comparison.objective)
    positive = [row.variance for row in comparison.rows if row.variance > 0]
    floor = min(positive) / 10 if positive else 1.0
    for row in comparison.rows:
        height = row.variance or floor
        low, high = row.variance_interval
        time = 1e3 * row.seconds
        fast, slow = (1e3 * s for s in row.seconds_interval)
        marker = "x" if row.biased else "o" if row.variance else "v"
        ax.errorbar(
            [time],
            [height],
            xerr=[[time - fast], [slow - time]],
            yerr=[[row.variance - low], [high - row.variance]],
            marker=marker,
            linestyle="none",
            capsize=3,
            label=f"{row.estimator} (biased)" if row.biased else row.estimator,
        )
    ranked = comparison.ranked
    if ranked and ranked[0].variance:
        best = ranked[0]
        ax.axline(
            (1e3 * best.seconds, best.variance),
            (1e3 * best.seconds * 1.01, best.variance / 1.01),
            linestyle=":",
            color="grey",
            label="as efficient as the best",
            zorder=0,
        )
    ax.legend()
    return ax
