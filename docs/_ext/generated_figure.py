"""Figures that are made when the pages are built, for light and for dark screens.

They lie in ``docs/generated`` and are made again when the library or the code in
``docs/_ext`` is newer than they are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from docutils import nodes
from matplotlib import style
from matplotlib.figure import Figure
from sphinx.util.docutils import SphinxDirective

ROOT: Final = Path(__file__).parents[2]
GENERATED: Final = ROOT / "docs" / "generated"
STYLES: Final = {"light": "default", "dark": "dark_background"}


def newest_source(*more: Path) -> float:
    """Return when the library, this folder or one of ``more`` was last changed."""
    sources = [*(ROOT / "pgplugins").rglob("*.py"), *Path(__file__).parent.glob("*.py")]
    return max(path.stat().st_mtime for path in (*sources, *more))


def is_fresh(path: Path, *sources: Path) -> bool:
    """Whether a file exists and is newer than all that it was made from."""
    return path.is_file() and path.stat().st_mtime > newest_source(*sources)


def show(
    directive: SphinxDirective, stem: str, draw: Callable[[], Figure], text: str
) -> list[nodes.Node]:
    """Draw a figure unless it is fresh, and show it.

    Args:
        directive: Where it stands.
        stem: Its name among the generated files.
        draw: Draws it in the style of matplotlib that is in use.
        text: What it shows, for those who cannot see it.
    """
    GENERATED.mkdir(exist_ok=True)
    shown = []
    for theme, name in STYLES.items():
        path = GENERATED / f"{stem}-{theme}.svg"
        if not is_fresh(path):
            with style.context(name):
                draw().savefig(path, transparent=True)
        shown.append(
            f"```{{image}} /generated/{path.name}\n:alt: {text}\n"
            f":class: only-{theme}\n```"
        )
    return directive.parse_text_to_nodes("\n".join(shown))
