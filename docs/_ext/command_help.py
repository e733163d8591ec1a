"""The command line, documented from what the commands say of themselves.

The directive ``commands`` shows every command: what it does, its usage and its options.
"""

from __future__ import annotations

import inspect

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from pgplugins.cli import COMMANDS, main


def markdown() -> str:
    """Return a section for every command in Markdown."""
    context = click.Context(main, info_name="pgplugins")
    sections = []
    for name in sorted(COMMANDS):
        command = main.get_command(context, name)
        assert command is not None
        sections.append(_section(name, command, context))
    return "\n\n".join(sections)


def _section(name: str, command: click.Command, parent: click.Context) -> str:
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join(command.collect_usage_pieces(context))
    # Click ends the help at a form feed, and marks verbatim paragraphs by \b.
    text = inspect.cleandoc(command.help or "").split("\f")[0].replace("\b\n", "")
    lines = [f"## `pgplugins {name}`", text]
    lines.append(f"```text\npgplugins {name} {usage}\n```")
    rows = [
        f"| `{', '.join(option.opts)}{_value(option, context)}` | {option.help} |"
        for option in command.params
        if isinstance(option, click.Option)
    ]
    if rows:
        lines.append("\n".join(["| option | |", "|---|---|", *rows]))
    return "\n\n".join(lines)


def _value(option: click.Option, context: click.Context) -> str:
    return "" if option.is_flag else f" {option.make_metavar(context)}"


class Commands(SphinxDirective):
    """A section for every command."""

    def run(self) -> list[nodes.Node]:
        """Parse the generated Markdown where the directive stands."""
        return self.parse_text_to_nodes(markdown(), allow_section_headings=True)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
