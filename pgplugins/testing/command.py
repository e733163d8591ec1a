"""``pgplugins check``: the conformance kit from the command line."""

from __future__ import annotations

import json
import sys

import click
from rich.console import Console

from pgplugins.plugins import estimator
from pgplugins.testing.conformance import run_checks


@click.command()
@click.argument("name")
@click.option("--seed", default=0, show_default=True, help="Fixes every random number.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def check(name: str, seed: int, as_json: bool) -> None:
    """Prove the estimator NAME on problems with exact gradients.

    Prints what every check found and ends with status 1 if one failed.
    """
    report = run_checks(estimator(name), seed=seed)
    if as_json:
        click.echo(json.dumps({**report.to_dict(), "seed": seed}, indent=2))
    elif sys.stdout.isatty():
        Console(markup=False, highlight=False).print(report.table())
    else:
        click.echo(str(report))
    if not report.passed:
        sys.exit(1)
