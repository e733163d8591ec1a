"""``pgplugins explain``: an objective of one's own, explained on the command line."""

from __future__ import annotations

import json
import sys

import click
from rich.console import Console

from pgplugins.diagnostics.explain import explain as explain_objective
from pgplugins.diagnostics.explain_table import LEGEND
from pgplugins.diagnostics.loading import attribute_of, load


@click.command()
@click.argument("objective", metavar="MODULE:NAME")
@click.option(
    "--params",
    metavar="NAME",
    help="The module's mapping of names to tensors; Pyro's parameters if left out.",
)
@click.option("--elbo", metavar="NAME", help="The module's pg.ELBO, for a triple.")
@click.option("--num-samples", type=int, help="Draws per call of an expectation.")
@click.option("--num-particles", type=int, help="Draws per call of other objectives.")
@click.option("--num-runs", default=200, show_default=True, help="Calls to average.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
@click.option("--seed", default=0, show_default=True, help="Fixes every random number.")
def explain(
    objective: str,
    params: str | None,
    elbo: str | None,
    num_samples: int | None,
    num_particles: int | None,
    num_runs: int,
    as_json: bool,
    seed: int,
) -> None:
    """Say which estimator serves each site of an objective, and why.

    MODULE:NAME is an expectation (cost, dist), a triple (model, guide, args) or a
    program with costs, such as my_module:objective.
    """
    module, found = load(objective)
    explanation = explain_objective(
        found,
        params=None if params is None else attribute_of(module, params),
        elbo=None if elbo is None else attribute_of(module, elbo),
        num_samples=num_samples,
        num_particles=num_particles,
        num_runs=num_runs,
        seed=seed,
        name=objective,
    )
    if as_json:
        click.echo(json.dumps(explanation.to_dict(), indent=2, allow_nan=False))
        return
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 100, highlight=False)
    console.print(explanation.table() if terminal else str(explanation), markup=False)
    console.print()
    console.print(LEGEND)
