"""What the examples print and draw, made when the pages are built.

``{example-output} name arguments`` runs ``python examples/name.py arguments`` and shows
the command and its output, so that a page cannot show numbers that the code does not
produce. ``{example} name`` is an entry of the gallery: the example at small settings,
with its picture and run time, and the command for the full ones. What was printed and
drawn is kept in ``docs/generated`` until the library or the example changes. All runs
that the pages ask for are started before the first page is read, as many at a time as
there are cores.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from generated_figure import GENERATED, ROOT, is_fresh
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
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


@dataclass(frozen=True)
class Asked:
    """What a page asks for.

    Args:
        name: Of the file in ``examples``, without its suffix.
        arguments: For its command line.
        draws: Whether its picture is wanted.
    """

    name: str
    arguments: tuple[str, ...]
    draws: bool = False

    @property
    def script(self) -> Path:
        """The file that is run."""
        return ROOT / "examples" / f"{self.name}.py"

    @property
    def picture(self) -> Path:
        """Where it is told to draw, if its picture is wanted."""
        return KEPT / f"{self.name}.png"

    @property
    def kept(self) -> Path:
        """Where the run is written down."""
        stem = "_".join([self.name, *self.arguments]).replace("/", "_")
        return KEPT / f"{stem}.json"


class ExampleError(Exception):
    """An example ended with an error; the message is what it wrote."""


def run(asked: Asked) -> Run:
    """Run an example, or return what the last run of the same command did.

    Raises:
        ExampleError: It fails.
    """
    shown = ["python", f"examples/{asked.name}.py", *asked.arguments]
    drawn = not asked.draws or asked.picture.is_file()
    if is_fresh(asked.kept, asked.script) and drawn:
        return Run(**json.loads(asked.kept.read_text()))
    KEPT.mkdir(parents=True, exist_ok=True)
    drawing = ["--plot", str(asked.picture)] if asked.draws else []
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(asked.script), *asked.arguments, *drawing],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ExampleError(f"examples/{asked.name}.py failed:\n{done.stderr}")
    result = Run(" ".join(shown), done.stdout.rstrip(), time.perf_counter() - start)
    asked.kept.write_text(json.dumps(asdict(result)))
    return result


STARTED: dict[Asked, Future[Run]] = {}


def start(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    """Start what the pages that will be read ask for."""
    pool = ThreadPoolExecutor(os.cpu_count())
    for docname in docnames:
        for asked in asked_by(Path(env.doc2path(docname)).read_text()):
            if asked not in STARTED:
                STARTED[asked] = pool.submit(run, asked)
    pool.shutdown(wait=False)


def asked_by(page: str) -> Iterator[Asked]:
    """Find the directives of this module in a page."""
    for kind, words in re.findall(
        r"^```\{(example|example-output)\} (.+)$", page, re.MULTILINE
    ):
        name, *arguments = words.split()
        yield entry(name) if kind == "example" else Asked(name, tuple(arguments))


def entry(name: str) -> Asked:
    """Return what the gallery asks of an example."""
    return Asked(name, ("--tiny",), draws="--plot" in summary_and_command(name)[1])


def outcome(asked: Asked) -> Run:
    """Wait for a run that was started, or run it now."""
    return STARTED[asked].result() if asked in STARTED else run(asked)


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
            return [show_run(outcome(Asked(name, tuple(" ".join(rest).split()))))]
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
        asked = entry(name)
        try:
            result = outcome(asked)
        except ExampleError as error:
            raise self.error(str(error)) from error
        shown = self.parse_text_to_nodes(f"**{summary}**")
        if asked.draws:
            image = self.parse_text_to_nodes(
                f"```{{image}} /generated/examples/{asked.picture.name}\n"
                f":alt: What {name} draws at small settings\n```"
            )
            shown.append(nodes.container("", *image, classes=["figure", "drawn"]))
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
    app.connect("env-before-read-docs", start)
    # Runs that were started are waited for in the process that started them.
    return {"parallel_read_safe": False}
