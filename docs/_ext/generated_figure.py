"""Figures that are made when the pages are built, for light and for dark screens.

They lie in ``docs/generated`` and are made again when the library or the code that
makes them is newer than they are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from docutils import nodes
from matplotlib import rc_context, style
from matplotlib.figure import Figure
from sphinx.util.docutils import SphinxDirective

ROOT: Final = Path(__file__).parents[2]
GENERATED: Final = ROOT / "docs" / "generated"
MEASURING: Final = Path(__file__).with_name("measured.py")
STYLES: Final = {"light": "default", "dark": "dark_background"}


def is_fresh(path: Path, *sources: Path) -> bool:
    """Whether a file exists and is newer than ``sources`` and the library."""
    made_from = (*(ROOT / "pgplugins").rglob("*.py"), *sources)
    return path.is_file() and path.stat().st_mtime > max(
        source.stat().st_mtime for source in made_from
    )


def show(
    directive: SphinxDirective,
    stem: str,
    draw: Callable[[], Figure],
    text: str,
    source: Path,
) -> list[nodes.Node]:
    """Draw a figure unless it is fresh, and show it.

    Args:
        directive: Where it stands.
        stem: Its name among the generated files.
        draw: Draws it in the style of matplotlib that is in use.
        text: What it shows, for those who cannot see it.
        source: The file that draws it.
    """
    GENERATED.mkdir(exist_ok=True)
    shown = []
    for theme, name in STYLES.items():
        path = GENERATED / f"{stem}-{theme}.svg"
        if not is_fresh(path, source, MEASURING):
            with style.context(name):
                write(draw(), path)
        shown.append(
            f"```{{image}} /generated/{path.name}\n:alt: {text}\n"
            f":class: only-{theme}\n```"
        )
    images = directive.parse_text_to_nodes("\n".join(shown))
    return [nodes.container("", *images, classes=["figure"])]


def write(figure: Figure, path: Path) -> None:
    """Write a figure as SVG, the same for the same figure: no date, no random names."""
    with rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path, transparent=True, metadata={"Date": None})
