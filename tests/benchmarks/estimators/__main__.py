"""Print how estimators compare: ``python -m tests.benchmarks.estimators``.

All of them are eager and take the gradient of one bound at one point. Times are taken
in alternating blocks; a ratio is the median over rounds, with the smallest and the
largest beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import click
import pyro
import torch

from tests.benchmarks import chaos, regret, rollouts
from tests.benchmarks.estimators import autoencoder, regression
from tests.benchmarks.ratio import Block, alternate, confine

PARTS = ("regression", "autoencoder", "rollouts", "chaos", "auto")


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


def print_rollouts(seconds: float, rounds: int) -> None:
    """Print the time of one step in rollouts of several lengths."""
    click.echo(f"rollouts: {rollouts.__doc__}")
    base, *_ = rollouts.LENGTHS
    for kind in rollouts.KINDS:
        blocks = {str(n): Block(s) for n, s in rollouts.steps_of(kind).items()}
        timed = alternate(blocks, seconds=seconds, rounds=rounds)
        for length in rollouts.LENGTHS:
            middle, low, high = (
                ratio * base / length for ratio in timed.ratio(str(length), str(base))
            )
            click.echo(
                f"  {kind:24s}{length:5d} steps"
                f"{timed.seconds(str(length)) / length * 1e6:9.0f} us a step"
                f"{middle:8.2f} of {base} steps' ({low:.2f} to {high:.2f})"
            )


def print_chaos(repeats: int) -> None:
    """Print means and variances of a chaotic rollout's gradient."""
    particles = 200
    click.echo(f"chaos: {repeats} gradients of {particles} particles. {chaos.__doc__}")
    for steps in (8, 15, 25):
        gain = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True)
        click.echo(f"  {steps} steps: exactly {chaos.exact(gain, steps):.4g}")
        for name in chaos.NAMES:
            found = chaos.estimates(name, steps, particles, repeats)
            error = found.std() / repeats**0.5
            click.echo(
                f"    {name:18s} mean {found.mean():10.4g} +- {error:.2g}"
                f"   variance {found.var():.3g}"
            )


def print_regret(lessons: int, repeats: int) -> None:
    """Print what `auto` has chosen, and how it does against the best fixed one."""
    click.echo(
        f"auto: against the best fixed unbiased estimator, after {lessons} calls, over "
        f"{repeats}: variance x cost by the cost model, variance x seconds, and second "
        "moment x cost, which it minimises. 1 is no regret; intervals of 95%."
    )
    for name, problem in regret.PROBLEMS.items():
        click.echo(
            f"  {regret.line(name, regret.measured(problem(), lessons, repeats))}"
        )
    click.echo(
        "auto: what a call costs before its first row, in rows (the model says 10)."
    )
    for name, fixed in regret.fixed_parts().items():
        click.echo(f"  {name:40s}{fixed:8.0f}")


@click.command()
@click.option("--seconds", default=0.25, show_default=True, help="Of one block.")
@click.option("--rounds", default=9, show_default=True, help="Blocks of each.")
@click.option("--steps", default=400, show_default=True, help="Before the variance.")
@click.option("--repeats", default=600, show_default=True, help="For the variance.")
@click.option("--lessons", default=1000, show_default=True, help="Before the moments.")
@click.option("--only", type=click.Choice(PARTS))
def main(
    seconds: float,
    rounds: int,
    steps: int,
    repeats: int,
    lessons: int,
    only: str | None,
) -> None:
    """Measure estimators against one another: variances, times, choices."""
    confine(1)
    # As in a finished program: both sides check less.
    pyro.enable_validation(False)
    for name, take in {
        "regression": lambda: (
            print_times(regression.__doc__ or "", regression.steps(), seconds, rounds),
            print_variances(steps, repeats),
        ),
        "autoencoder": lambda: (
            print_times(
                autoencoder.__doc__ or "", autoencoder.steps(), seconds, rounds
            ),
            print_moments(lessons, repeats),
        ),
        "rollouts": lambda: print_rollouts(seconds, rounds),
        "chaos": lambda: print_chaos(repeats),
        "auto": lambda: print_regret(lessons, repeats),
    }.items():
        if only in (None, name):
            pyro.clear_param_store()
            pyro.set_rng_seed(0)
            take()


if __name__ == "__main__":
    main()
