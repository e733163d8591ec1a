"""Drawing a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

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
    ax.set_xlabel("seconds of one call")
    ax.set_ylabel("total variance of the gradient")
    ax.set_title(comparison.objective)
    positive = [row.variance for row in comparison.rows if row.variance > 0]
    floor = min(positive) / 10 if positive else 1.0
    for row in comparison.rows:
        height = row.variance or floor
        low, high = row.variance_interval
        fast, slow = row.seconds_interval
        marker = "x" if row.biased else "o" if row.variance else "v"
        ax.errorbar(
            [row.seconds],
            [height],
            xerr=[[row.seconds - fast], [slow - row.seconds]],
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
            (best.seconds, best.variance),
            (10 * best.seconds, best.variance / 10),
            linestyle=":",
            color="grey",
            label="as efficient as the best",
            zorder=0,
        )
    ax.legend()
    return ax
