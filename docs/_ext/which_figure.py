r"""A measured figure: what each estimator's gradients cost on typical problems.

The directive ``which-figure`` measures when the pages are built. As a script it does so
with as many calls as it is told, and writes the picture for light screens, for dark
ones, or both. README's are from

    python docs/_ext/which_figure.py --light docs/_static/which-light.svg \
        --dark docs/_static/which-dark.svg
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from docutils import nodes
from generated_figure import STYLES, show, write
from matplotlib import style
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from measured import Case, Measured, Settings, measure
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Independent,
    Normal,
    OneHotCategorical,
    Poisson,
)

import pgplugins as pg
from pgplugins.core.fit import misfit
from pgplugins.plugins import overview

PRICES = torch.tensor([0.3, 2.0, 1.0, -1.0, 0.0, 0.7], dtype=torch.float64)
GAUSSIAN = {"mu": 0.7, "s": 1.3}


def normal(p: dict[str, Tensor]) -> Normal:
    """Return the law of the continuous problems."""
    return Normal(p["mu"], p["s"])


CASES = (
    Case("Normal,\nsmooth cost", GAUSSIAN, normal, lambda x: (x - 2) ** 2),
    Case("Normal,\nfast waves", GAUSSIAN, normal, lambda x: torch.sin(8 * x)),
    Case("Normal,\na jump", GAUSSIAN, normal, lambda x: x**2 + 3.0 * (x > 0.5)),
    Case(
        "Bernoulli",
        {"logit": 0.5},
        lambda p: Bernoulli(logits=p["logit"]),
        lambda b: (b - 0.3) ** 2,
    ),
    Case(
        "six bits,\njoint cost",
        {"logits": [0.5] * 6},
        lambda p: Independent(Bernoulli(logits=p["logits"]), 1),
        lambda b: (b.sum(-1) - 2) ** 2,
    ),
    Case(
        "one of six\n(one-hot)",
        {"logits": [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]},
        lambda p: OneHotCategorical(logits=p["logits"]),
        lambda b: (b * PRICES).sum(-1) ** 2,
    ),
    Case(
        "Poisson",
        {"rate": 3.0},
        lambda p: Poisson(p["rate"]),
        lambda k: (k - 2) ** 2,
    ),
)

UNSOUND = {"Normal,\na jump"}
"""Where what needs a gradient of the cost is biased, whatever its traits say."""


@cache
def found(settings: Settings) -> dict[tuple[str, str], Measured]:
    """Measure every estimator where it fits and is not biased, by case and name."""
    rows = [r for r in overview() if r.owner == "pgplugins" and r.unbiased]
    results = {}
    for case in CASES:
        for row in rows:
            law = case.law(case.leaves(1))
            if misfit(pg.estimator(row.name), law) is not None:
                continue
            if case.title in UNSOUND and "differentiable_cost" in row.needs:
                continue
            results[case.title, row.name] = measure(case, row.name, settings)
    return results


def draw(settings: Settings) -> Figure:
    """Draw variance times evaluations, over that of the score function."""
    results = found(settings)
    titles = [case.title for case in CASES]
    names = _in_blocks(results)
    work = {key: m.total * m.evaluations for key, m in results.items()}
    table = np.full((len(names), len(titles)), np.nan)
    for (title, name), value in work.items():
        ratio = value / work[title, "score_function"]
        table[names.index(name), titles.index(title)] = ratio
    figure = Figure(figsize=(8.5, 6.2), layout="constrained")
    figure.suptitle(
        "Variance of a gradient times evaluations of the cost, over that of the score\n"
        "function: less is better, and no estimator is the best everywhere",
        fontsize="medium",
    )
    ax = figure.subplots()
    shades = np.log10(np.clip(table, 1e-3, 10))
    ax.imshow(shades, "RdYlGn_r", norm=TwoSlopeNorm(0, -3, 1), aspect="auto", alpha=0.8)
    for (i, j), ratio in np.ndenumerate(table):
        if not np.isnan(ratio):
            text = f"{ratio:.2g}" if ratio >= 1e-3 else "<0.001"
            if ratio < 1e-12:  # What rounding leaves.
                text = "0"
            color = "white" if ratio < 0.02 or ratio > 7 else "black"
            ax.text(j, i, text, ha="center", va="center", color=color)
    ax.set_xticks(range(len(titles)), titles, fontsize="small")
    ax.set_yticks(range(len(names)), names)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    return figure


def _in_blocks(results: Iterable[tuple[str, str]]) -> list[str]:
    """Order estimators by the problems that they serve, those of all problems first."""
    titles = [case.title for case in CASES]
    served: dict[str, list[int]] = {}
    for title, name in results:
        served.setdefault(name, []).append(titles.index(title))
    whole = len(titles)
    return sorted(served, key=lambda n: (len(served[n]) < whole, served[n], n))


class WhichFigure(SphinxDirective):
    """The measured figure."""

    def run(self) -> list[nodes.Node]:
        """Measure, draw and show."""
        text = "Variance times evaluations of the cost, by problem and estimator"
        return show(self, "which", lambda: draw(Settings()), text, Path(__file__))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("which-figure", WhichFigure)
    return {"parallel_read_safe": True}


def main() -> None:
    """Measure and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=10_000)
    parser.add_argument("--warmup", type=int, default=100)
    for theme in STYLES:
        parser.add_argument(f"--{theme}", type=Path, help=f"SVG for {theme} screens")
    given = parser.parse_args()
    settings = Settings(replicates=given.replicates, warmup=given.warmup)
    for theme, name in STYLES.items():
        if path := getattr(given, theme):
            with style.context(name):
                write(draw(settings), path)


if __name__ == "__main__":
    main()
