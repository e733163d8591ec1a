"""Which estimators come into question for a choice: asked of the estimators themselves.

The directive ``decision-table`` asks every built-in estimator whether it serves a law,
and its traits whether it needs a gradient of the cost and whether it is unbiased.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from docutils import nodes
from pyro import distributions as dist
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata
from torch.distributions import Distribution

from pgplugins.core.fit import misfit
from pgplugins.plugins import estimator, overview

CHOICES: dict[str, Distribution] = {
    "continuous, symmetric (Normal)": dist.Normal(0.0, 1.0),
    "continuous, other (Gamma)": dist.Gamma(2.0, 1.0),
    "yes or no (Bernoulli)": dist.Bernoulli(0.5),
    "one of a few (Categorical)": dist.Categorical(torch.ones(4) / 4),
    "the same, one-hot": dist.OneHotCategorical(torch.ones(4) / 4),
    "many bits in one event (2^20 points)": dist.Bernoulli(torch.ones(20) / 2).to_event(
        1
    ),
    "counts (Poisson)": dist.Poisson(3.0),
}

HEADINGS = ("the choice", "any cost", "the cost has a gradient", "biased")


@dataclass(frozen=True)
class Suited:
    """Names of estimators that serve a law.

    Args:
        any_cost: Unbiased, whatever the cost.
        gradient: Unbiased, if the cost has a gradient in the draw and does not jump.
        biased: Biased, whatever they need.
    """

    any_cost: tuple[str, ...]
    gradient: tuple[str, ...]
    biased: tuple[str, ...]


def suited(law: Distribution) -> Suited:
    """Sort the built-in estimators that serve a law by what they ask of the cost."""
    rows = [
        row
        for row in overview()
        if row.owner == "pgplugins" and misfit(estimator(row.name), law) is None
    ]
    unbiased = [row for row in rows if row.unbiased]
    return Suited(
        any_cost=tuple(
            row.name for row in unbiased if "differentiable_cost" not in row.needs
        ),
        gradient=tuple(
            row.name for row in unbiased if "differentiable_cost" in row.needs
        ),
        biased=tuple(row.name for row in rows if not row.unbiased),
    )


def markdown_table() -> str:
    """Return the table in Markdown, with links to the estimators' pages."""
    lines = [HEADINGS, ("---",) * len(HEADINGS)]
    for choice, law in CHOICES.items():
        found = suited(law)
        names = (found.any_cost, found.gradient, found.biased)
        lines.append((choice, *map(_links, names)))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _links(names: tuple[str, ...]) -> str:
    return ", ".join(f"[`{n}`](estimators/{n}.md)" for n in names) or "none"


class DecisionTable(SphinxDirective):
    """The table of estimators by choice and cost."""

    def run(self) -> list[nodes.Node]:
        """Parse the generated Markdown where the directive stands."""
        return self.parse_text_to_nodes(markdown_table())


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("decision-table", DecisionTable)
    return {"parallel_read_safe": True}
