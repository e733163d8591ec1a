"""``pgplugins new``: start a plugin package."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from pgplugins.scaffold.names import names_for
from pgplugins.scaffold.package import write_package


@click.command()
@click.argument("name")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Directory of the package, new or empty.  [default: pgplugins-NAME]",
)
def new(name: str, output: Path | None) -> None:
    """Write an installable plugin package with an estimator called NAME.

    The estimator is a score function that passes the conformance kit as it stands, to
    be edited into the one that is wanted. Its tests run the kit, and find it by its
    name.
    """
    names = names_for(name)
    directory = Path(names.distribution) if output is None else output
    written = write_package(names, directory)
    click.echo(f"{directory} holds the package {names.distribution}:")
    for path in written:
        click.echo(f"  {path}")
    click.echo("\nInstall it and run its tests:\n")
    click.echo(f"  cd {shlex.quote(str(directory))}")
    click.echo("  python -m pip install -e '.[test]'")
    click.echo("  python -m pytest")
    click.echo(
        f"\nThen edit src/{names.package}/estimator.py. The same tests tell whether it "
        "is right."
    )
