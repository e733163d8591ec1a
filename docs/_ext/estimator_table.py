"""Documentation of the estimators, generated from their traits.

Two directives: ``estimator-table`` and ``estimator`` with a registered name. Run as a
script it prints the table in Markdown, as README.md shows it between its markers.
"""

from __future__ import annotations

from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from pgplugins.core.estimator import Estimator
from pgplugins.plugins import EstimatorRow, estimator_class, overview

HEADINGS = (
    "estimator",
    "what it does",
    "unbiased",
    "needs",
    "cost evaluations",
    "order",
)

EVALUATIONS: dict[int | str, str] = {
    "support": "one per point",
    "parameters": "one or two per parameter, and one",
    "size": "`size`",
    "choice": "its choice's",
}


def markdown_table(linked: bool = False) -> str:
    """Return the table of the built-in estimators in Markdown.

    Args:
        linked: Names are links to the estimators' pages, as seen from ``docs``.
    """
    lines = [_line(HEADINGS), _line(["---"] * len(HEADINGS))]
    rows = [row for row in overview() if row.owner == "pgplugins"]
    lines += [_line(_cells(row, linked)) for row in rows]
    return "\n".join(lines)


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: EstimatorRow, linked: bool) -> list[str]:
    evaluations = row.cost_evaluations
    name = f"`{row.name}`"
    if linked:
        name = f"[{name}](estimators/{row.name}.md)"
    return [
        name,
        row.summary.replace("|", r"\|"),
        "yes" if row.unbiased else "**no**",
        ", ".join(row.needs) or "nothing",
        EVALUATIONS.get(evaluations, str(evaluations)),
        str(row.order),
    ]


class EstimatorTable(SphinxDirective):
    """The table of the built-in estimators."""

    def run(self) -> list[nodes.Node]:
        """Parse the generated Markdown where the directive stands."""
        return self.parse_text_to_nodes(markdown_table(linked=True))


class EstimatorEntry(SphinxDirective):
    """The signature and docstring of the class behind a name."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """Hand the class to autodoc."""
        cls = estimator_class(self.arguments[0])
        path = f"{cls.__module__}.{cls.__qualname__}"
        if cls.__init__ is Estimator.__init__:
            # torch's own signature, (*args, **kwargs), would promise options.
            path += "()"
        return self.parse_text_to_nodes(
            f"```{{eval-rst}}\n.. autoclass:: {path}\n   :no-index-entry:\n```"
        )


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directives."""
    app.add_directive("estimator-table", EstimatorTable)
    app.add_directive("estimator", EstimatorEntry)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    print(markdown_table())
