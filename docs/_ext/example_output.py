"""What an example prints, made when the pages are built.

The directive ``{example-output} name arguments`` runs ``python examples/name.py
arguments`` and shows the command and its output, so that a page cannot show numbers
that the code does not produce.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

ROOT = Path(__file__).parents[2]


class ExampleOutput(SphinxDirective):
    """The command and the output of one of the scripts in ``examples``."""

    required_arguments: ClassVar[int] = 1
    optional_arguments: ClassVar[int] = 1
    final_argument_whitespace: ClassVar[bool] = True

    def run(self) -> list[nodes.Node]:
        """Run the example and show what it prints."""
        script = f"examples/{self.arguments[0]}.py"
        arguments = " ".join(self.arguments[1:]).split()
        self.env.note_dependency(str(ROOT / script))
        done = subprocess.run(
            [sys.executable, script, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise self.error(f"{script} failed:\n{done.stderr}")
        shown = " ".join(["$ python", script, *arguments])
        text = f"{shown}\n{done.stdout}".rstrip()
        return [nodes.literal_block(text, text, language="text")]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("example-output", ExampleOutput)
    return {"parallel_read_safe": True}
