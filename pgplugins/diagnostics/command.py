"""``pgplugins compare``: the main job from the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console

from pgplugins.diagnostics.main_job.job import MainJob, run
from pgplugins.diagnostics.table import LEGEND, verdict
from pgplugins.errors import InputError
from pgplugins.plugins import estimator

BUILT_IN = "score_function,reparameterized,hybrid"


@click.command()
@click.option(
    "--estimators",
    default=BUILT_IN,
    show_default=True,
    metavar="NAME,...",
    help="Estimators to compare; each must fit continuous sites.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("pgplugins-output"),
    show_default=True,
    help="Directory for the picture.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
@click.option("--seed", default=0, show_default=True, help="Fixes every random number.")
def compare(estimators: str, output: Path, as_json: bool, seed: int) -> None:
    """Compare gradient estimators on a variational and on a control objective.

    Bayesian logistic regression on the breast-cancer data, and the policy gradient of a
    linear-quadratic regulator, whose exact value is known. Then the score function
    trains a policy on CartPole-v1. Takes about a minute and writes a picture.
    """
    names = [name.strip() for name in estimators.split(",") if name.strip()]
    if not names:
        raise InputError(f"--estimators names nothing; write some, such as {BUILT_IN}.")
    for name in names:
        estimator(name)
    job = run(names, seed)
    try:
        picture = job.save_picture(output)
    except OSError as error:
        raise InputError(
            f"--output {output}: the picture cannot be written there ({error}). Name a "
            "folder that you may write to."
        ) from error
    if as_json:
        shown = {**job.to_dict(), "seed": seed, "picture": str(picture)}
        click.echo(json.dumps(shown, indent=2, allow_nan=False))
    else:
        _show(job, picture)


def _show(job: MainJob, picture: Path) -> None:
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 100, highlight=False)
    for comparison in job.comparisons:
        console.print(comparison.table() if terminal else str(comparison.table()))
        console.print(verdict(comparison), end="\n\n")
    training = job.training
    reached = "solved" if training.solved else "not solved"
    console.print(
        f"{training.objective} with {training.estimator}: {reached}, mean return "
        f"{training.recent_return:.0f} after {training.env_steps[-1]:,} steps in "
        f"{training.seconds:.1f} s.",
        end="\n\n",
    )
    console.print(LEGEND)
    console.print(f"Picture: {picture}")
