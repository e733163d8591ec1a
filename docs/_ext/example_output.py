"""What the examples print and draw, made when the pages are built.

``{example-output} name arguments`` runs ``python examples/name.py arguments`` and shows
the command and its output, so that a page cannot show numbers that the code does not
produce. ``{example} name`` is an entry of the gallery: the example at small settings,
with its picture and run time, and the command for the full ones. What was printed and
drawn is kept in ``docs/generated`` until the library or the example changes.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from generated_figure import GENERATED, ROOT, is_fresh
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

KEPT = GENERATED / "examples"


@dataclass(frozen=True)
class Run:
    """One run of an example.

    Args:
        command: As a reader would type it.
        printed: Its standard output.
        seconds: Of the clock, imports included.
    """

    command: str
    printed: str
    seconds: float


class ExampleError(Exception):
    """An example ended with an error; the message is what it wrote."""


def run(name: str, arguments: list[str], picture: Path | None = None) -> Run:
    """Run an example, or return what the last run of the same command did.

    Args:
        name: Of the file in ``examples``, without its suffix.
        arguments: For its command line.
        picture: Where it is told to draw, if it draws.

    Raises:
        ExampleError: It fails.
    """
    script = ROOT / "examples" / f"{name}.py"
    shown = ["python", f"examples/{name}.py", *arguments]
    kept = KEPT / f"{'_'.join([name, *arguments]).replace('/', '_')}.json"
    if is_fresh(kept, script) and (picture is None or picture.is_file()):
        return Run(**json.loads(kept.read_text()))
    KEPT.mkdir(parents=True, exist_ok=True)
    drawing = [] if picture is None else ["--plot", str(picture)]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(script), *arguments, *drawing],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ExampleError(f"examples/{name}.py failed:\n{done.stderr}")
    result = Run(" ".join(shown), done.stdout.rstrip(), time.perf_counter() - start)
    kept.write_text(json.dumps(asdict(result)))
    return result


def summary_and_command(name: str) -> tuple[str, str]:
    """Return what an example's docstring opens with, and its first command."""
    source = (ROOT / "examples" / f"{name}.py").read_text()
    doc = ast.get_docstring(ast.parse(source)) or ""
    commands = re.findall(rf"^    (python examples/{name}\.py.*)$", doc, re.MULTILINE)
    return doc.splitlines()[0], commands[0]


def show_run(result: Run) -> nodes.Node:
    """Return command and output as a block."""
    text = f"$ {result.command}\n{result.printed}"
    return nodes.literal_block(text, text, language="text")


class ExampleOutput(SphinxDirective):
    """The command and the output of one of the scripts in ``examples``."""

    required_arguments: ClassVar[int] = 1
    optional_arguments: ClassVar[int] = 1
    final_argument_whitespace: ClassVar[bool] = True

    def run(self) -> list[nodes.Node]:
        """Run the example and show what it prints."""
        name, *rest = self.arguments
        self.env.note_dependency(str(ROOT / "examples" / f"{name}.py"))
        try:
            return [show_run(run(name, " ".join(rest).split()))]
        except ExampleError as error:
            raise self.error(str(error)) from error


class Example(SphinxDirective):
    """An entry of the gallery."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """Run the example at small settings and show all that it makes."""
        name = self.arguments[0]
        self.env.note_dependency(str(ROOT / "examples" / f"{name}.py"))
        summary, command = summary_and_command(name)
        picture = KEPT / f"{name}.png" if "--plot" in command else None
        try:
            result = run(name, ["--tiny"], picture)
        except ExampleError as error:
            raise self.error(str(error)) from error
        shown = self.parse_text_to_nodes(f"**{summary}**")
        if picture is not None:
            shown += self.parse_text_to_nodes(
                f"```{{image}} /generated/examples/{picture.name}\n"
                f":alt: What {name} draws at small settings\n```"
            )
        shown += self.parse_text_to_nodes(
            f"Small settings took {result.seconds:.0f} seconds when this page was "
            f"built. At full size:\n\n```bash\n{command}\n```"
        )
        fold = f"<details><summary>What <code>{result.command}</code> prints</summary>"
        shown += [
            nodes.raw("", fold, format="html"),
            show_run(result),
            nodes.raw("", "</details>", format="html"),
        ]
        return shown


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directives."""
    app.add_directive("example-output", ExampleOutput)
    app.add_directive("example", Example)
    return {"parallel_read_safe": True}
