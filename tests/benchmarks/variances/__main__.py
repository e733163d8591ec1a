"""Print variances and times by estimator: ``python -m tests.benchmarks.variances``.

All of them are eager and take the gradient of one bound at one point. Times are taken
in alternating blocks; a ratio is the median over rounds, with the smallest and the
largest beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import click
import pyro

from tests.benchmarks.ratio import Block, alternate, confine
from tests.benchmarks.variances import autoencoder, regression


def print_times(
    about: str, steps: Mapping[str, Callable[[], object]], seconds: float, rounds: int
) -> None:
    """Print how long a step of each takes, and its ratio to the first."""
    base, *_ = steps
    blocks = {name: Block(step) for name, step in steps.items()}
    timed = alternate(blocks, seconds=seconds, rounds=rounds)
    click.echo(about)
    for name in steps:
        middle, low, high = timed.ratio(name, base)
        click.echo(
            f"  {name:26s}{timed.seconds(name) * 1e3:9.3f} ms"
            f"{middle:8.2f} of {base} ({low:.2f} to {high:.2f})"
        )


def print_variances(steps: int, repeats: int) -> None:
    """Print the variance of both gradients of the regression, and their ratio."""
    click.echo(f"variance: {repeats} gradients each, after {steps} steps of Adam.")
    found = regression.gradient_variances(steps, repeats)
    base = found["reparameterized"]
    for name, variance in found.items():
        click.echo(f"  {name:18s}{variance:12.4g}{base / variance:8.2f}x lower")


def print_moments(lessons: int, repeats: int) -> None:
    """Print the encoder's gradient variance by estimator, at one trained point."""
    network = autoencoder.trained()
    click.echo(
        f"autoencoder: total variance of the encoder's gradient per image after 200 "
        f"steps, {lessons} gradients to learn from and {repeats} to measure; distance "
        "of the mean from REBAR's by hand, as a share of the gradient."
    )
    rows = autoencoder.rows(network)
    if not any(name.startswith("Storchastic") for name in rows):
        click.echo("  (Storchastic is not installed: its rows are left out)")
    found = {
        name: autoencoder.moments(network, row, lessons, repeats)
        for name, row in rows.items()
    }
    base, *_ = found.values()
    for name, moments in found.items():
        click.echo(
            f"  {name:26s}{moments.variance:12.4g}"
            f"{moments.variance / base.variance:9.3f} of the first"
            f"{moments.off(found['REBAR by hand, not tuned']):9.1%} off"
        )


@click.command()
@click.option("--seconds", default=0.25, show_default=True, help="Of one block.")
@click.option("--rounds", default=9, show_default=True, help="Blocks of each.")
@click.option("--steps", default=400, show_default=True, help="Before the variance.")
@click.option("--repeats", default=600, show_default=True, help="For the variance.")
@click.option("--lessons", default=1000, show_default=True, help="Before the moments.")
@click.option("--only", type=click.Choice(["regression", "autoencoder"]))
def main(
    seconds: float,
    rounds: int,
    steps: int,
    repeats: int,
    lessons: int,
    only: str | None,
) -> None:
    """Time every estimator, then measure its variance, on two models."""
    confine(1)
    # As in a finished program: both sides check less.
    pyro.enable_validation(False)
    for name, module in (("regression", regression), ("autoencoder", autoencoder)):
        if only in (None, name):
            pyro.clear_param_store()
            pyro.set_rng_seed(0)
            print_times(module.__doc__ or "", module.steps(), seconds, rounds)
    if only in (None, "regression"):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        print_variances(steps, repeats)
    if only in (None, "autoencoder"):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        print_moments(lessons, repeats)


if __name__ == "__main__":
    main()
