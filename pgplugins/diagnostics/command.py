"""``pgplugins compare``: the main job, or an objective of one's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from rich.console import Console

from pgplugins.diagnostics.comparison import RUNS
from pgplugins.diagnostics.comparison import compare as compare_objective
from pgplugins.diagnostics.html_report import html_report
from pgplugins.diagnostics.loading import attribute_of, load
from pgplugins.diagnostics.main_job.job import MainJob, run
from pgplugins.diagnostics.result import Comparison
from pgplugins.diagnostics.table import LEGEND
from pgplugins.errors import InputError
from pgplugins.plugins import estimator

BUILT_IN: Final = "score_function,reparameterized,hybrid"
OUTPUT: Final = Path("pgplugins-output")

_T = TypeVar("_T")


@click.command()
@click.argument("objective", required=False, metavar="[MODULE:NAME]")
@click.option(
    "--estimators",
    metavar="NAME,...",
    help=f"Estimators to compare. [default: {BUILT_IN}; all that fit a MODULE:NAME]",
)
@click.option(
    "--params",
    metavar="NAME",
    help="The module's mapping of names to tensors; Pyro's parameters if left out.",
)
@click.option("--elbo", metavar="NAME", help="The module's ELBO, for a triple.")
@click.option("--num-samples", type=int, help="Draws per call of an expectation.")
@click.option("--num-particles", type=int, help="Draws per call of other objectives.")
@click.option("--num-runs", type=int, help=f"Calls per estimator. [default: {RUNS}]")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Directory for the picture of the built-in objectives. [default: {OUTPUT}]",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write an HTML page with tables and plots.",
)
@click.option("--detail", is_flag=True, help="Show every parameter as well.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
@click.option("--seed", default=0, show_default=True, help="Fixes every random number.")
def compare(
    objective: str | None,
    estimators: str | None,
    output: Path | None,
    report: Path | None,
    detail: bool,
    as_json: bool,
    seed: int,
    **settings: Any,
) -> None:
    """Compare gradient estimators on an objective, or on two that are built in.

    MODULE:NAME is an expectation (cost, dist), a triple (model, guide, args) or a
    program with costs, such as my_module:objective.

    Without it: Bayesian logistic regression on the breast-cancer data, and the policy
    gradient of a linear-quadratic regulator, whose exact value is known. Then the score
    function trains a policy on CartPole-v1. Takes about a minute and writes a picture.
    """
    names = _names(estimators)
    job: MainJob | None = None
    if objective is None:
        _refuse_settings(settings)
        job = run(names or BUILT_IN.split(","), seed)
        comparisons = job.comparisons
    else:
        if output is not None:
            raise InputError(
                "--output is for the built-in objectives; write --report FILE for the "
                "plot of your own."
            )
        comparisons = [_own(objective, names, seed, **settings)]
    shown: dict[str, Any]
    if job is None:
        shown = comparisons[0].to_dict(detail=detail)
    else:
        picture = _written(job.save_picture, output or OUTPUT, "--output")
        shown = {**job.to_dict(detail=detail), "picture": str(picture)}
    if report is not None:
        page = html_report(comparisons, objective or "pgplugins compare", detail=detail)
        _written(
            lambda path: path.write_text(page, encoding="utf-8"), report, "--report"
        )
        shown["report"] = str(report)
    if as_json:
        shown["seed"] = seed
        click.echo(json.dumps(shown, indent=2, allow_nan=False))
    else:
        _show(comparisons, job, shown, detail=detail)


def _names(estimators: str | None) -> list[str] | None:
    if estimators is None:
        return None
    names = [name.strip() for name in estimators.split(",") if name.strip()]
    if not names:
        raise InputError(f"--estimators names nothing; write some, such as {BUILT_IN}.")
    for name in names:
        estimator(name)
    return names


def _refuse_settings(settings: Mapping[str, Any]) -> None:
    given = [name for name, value in settings.items() if value is not None]
    if given:
        raise InputError(
            f"--{given[0].replace('_', '-')} is for an objective of your own; write "
            "MODULE:NAME before it."
        )


def _own(
    target: str,
    estimators: list[str] | None,
    seed: int,
    *,
    params: str | None,
    elbo: str | None,
    num_samples: int | None,
    num_particles: int | None,
    num_runs: int | None,
) -> Comparison:
    module, found = load(target)
    return compare_objective(
        found,
        estimators,
        params=None if params is None else attribute_of(module, params),
        elbo=None if elbo is None else attribute_of(module, elbo),
        num_samples=num_samples,
        num_particles=num_particles,
        num_runs=RUNS if num_runs is None else num_runs,
        seed=seed,
        name=target,
    )


def _written(write: Callable[[Path], _T], path: Path, option: str) -> _T:
    try:
        return write(path)
    except OSError as error:
        raise InputError(
            f"{option} {path}: it cannot be written there ({error}). Name a place that "
            "you may write to."
        ) from error


def _show(
    comparisons: Sequence[Comparison],
    job: MainJob | None,
    shown: Mapping[str, Any],
    *,
    detail: bool,
) -> None:
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 100, highlight=False)
    for comparison in comparisons:
        tables = [comparison.table(), *([comparison.detail()] if detail else [])]
        for table in tables:
            console.print(table if terminal else str(table), end="\n\n", markup=False)
    if job is not None:
        training = job.training
        reached = "solved" if training.solved else "not solved"
        console.print(
            f"{training.objective} with {training.estimator}: {reached}, mean return "
            f"{training.recent_return:.0f} after {training.env_steps[-1]:,} steps in "
            f"{training.seconds:.1f} s.",
            end="\n\n",
        )
    console.print(LEGEND)
    for name in ("picture", "report"):
        if name in shown:
            console.print(f"{name.capitalize()}: {shown[name]}", markup=False)
