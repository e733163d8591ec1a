"""``pgplugins list``: the estimators and the plugins that this environment has."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import asdict

import click
from rich import box
from rich.console import Console
from rich.table import Table

from pgplugins.errors import PluginWarning
from pgplugins.plugins.overview import EstimatorRow, overview
from pgplugins.plugins.record import PluginRecord
from pgplugins.plugins.registry import plugins

# A pipe has no width; this one is beyond any table's, so nothing wraps.
_UNBOUNDED = 100_000


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def list_(as_json: bool) -> None:
    """List estimators and plugins.

    A plugin that failed is listed with its error, one that is switched off with the
    environment variable that did it.
    """
    with warnings.catch_warnings():
        # The table says it.
        warnings.simplefilter("ignore", PluginWarning)
        rows, records = overview(), plugins()
    if as_json:
        shown = {
            "estimators": [asdict(row) for row in rows],
            "plugins": [asdict(record) for record in records],
        }
        click.echo(json.dumps(shown, indent=2))
        return
    terminal = sys.stdout.isatty()
    # An error's text may look like markup, and must not be taken for it.
    console = Console(
        width=None if terminal else _UNBOUNDED,
        markup=False,
        emoji=False,
        highlight=False,
    )
    console.print(_estimator_table(rows, terminal))
    console.print()
    console.print(_plugin_table(records, terminal))


def _estimator_table(rows: list[EstimatorRow], terminal: bool) -> Table:
    headings = ["estimator", "unbiased", "needs", "costs", "order", "owner"]
    table = _table(headings if terminal else [*headings, "aliases"], terminal)
    for row in rows:
        # 80 columns have no room for aliases of their own.
        aliases = [f"or {alias}" for alias in row.aliases] if terminal else []
        cells = [
            "\n".join([row.name, *aliases]),
            "yes" if row.unbiased else "no",
            _joined(row.needs, terminal),
            str(row.cost_evaluations),
            str(row.order),
            row.owner,
        ]
        table.add_row(*cells, *([] if terminal else [_joined(row.aliases, terminal)]))
    return table


def _plugin_table(records: list[PluginRecord], terminal: bool) -> Table:
    table = _table(
        ["plugin", "distribution", "version", "status", "estimators", "error"], terminal
    )
    for record in records:
        table.add_row(
            record.name,
            record.distribution,
            record.version,
            record.status,
            _joined(record.estimators, terminal),
            record.error or "-",
        )
    return table


def _table(headings: list[str], terminal: bool) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD if terminal else None,
        # The box brings a space of its own; 80 columns have none to spare.
        padding=0 if terminal else (0, 2, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading == headings[0])
    return table


def _joined(names: tuple[str, ...], terminal: bool) -> str:
    """Join names: under one another where width is scarce, else on one line."""
    return ("\n" if terminal else ", ").join(names) or "-"
