"""The command line: ``pgplugins`` and ``python -m pgplugins``."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Final

import click

from pgplugins.errors import PgpluginsError


@dataclass(frozen=True)
class LazyCommand:
    """Where a command lives, and its line in ``--help``, which imports no command."""

    module: str
    attribute: str
    summary: str


COMMANDS: Final = {
    "check": LazyCommand(
        "pgplugins.testing.command",
        "check",
        "Prove the estimator NAME on problems with exact gradients.",
    ),
    "compare": LazyCommand(
        "pgplugins.diagnostics.command",
        "compare",
        "Compare gradient estimators on an objective, or on two that are built in.",
    ),
    "explain": LazyCommand(
        "pgplugins.diagnostics.explain_command",
        "explain",
        "Say which estimator serves each site of an objective, and why.",
    ),
    "list": LazyCommand(
        "pgplugins.plugins.command", "list_", "List estimators and plugins."
    ),
    "new": LazyCommand(
        "pgplugins.scaffold.command",
        "new",
        "Write an installable plugin package with an estimator called NAME.",
    ),
}


class _Group(click.Group):
    """Imports a command when it is run, and says the library's errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        lazy = COMMANDS.get(cmd_name)
        if lazy is None:
            return None
        command: click.Command = getattr(
            importlib.import_module(lazy.module), lazy.attribute
        )
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].summary) for name in COMMANDS])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PgpluginsError as error:
            raise _Refusal(" ".join(str(error).split())) from error


class _Refusal(click.ClickException):
    """What the library refused, said in one line."""

    exit_code = 2


@click.group(cls=_Group)
@click.version_option(package_name="pgplugins", message="%(prog)s %(version)s")
def main() -> None:
    """Choose and compare gradient estimators for Pyro programs."""
