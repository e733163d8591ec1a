"""Formulas as MathML, which browsers set themselves: without a script, and offline.

Sphinx's own renderer fetches MathJax from elsewhere, and shows the source of a formula
where it cannot.
"""

from __future__ import annotations

import re
from html import escape

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator

LOGGER = getLogger(__name__)


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(rendered(node, as_block=False))
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{rendered(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def rendered(node: nodes.math | nodes.math_block, as_block: bool) -> str:
    """Return a formula in MathML, or with a warning its source."""
    text = node.astext()
    try:
        if re.search(r"frac\s*[^\s{]", text):
            # Docutils reads it as a fraction of other things, and says nothing.
            raise MathError("write \\frac{1}{2}, not \\frac12")
        return str(latex2mathml.tex2mathml(text, as_block=as_block))
    except MathError as error:
        LOGGER.warning("a formula cannot be set: %s", error, location=node)
        return f"<code>{escape(text)}</code>"


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the renderer; ``html_math_renderer`` names it."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
