"""Print a table of ratios: ``python -m tests.benchmarks``.

Both sides of a ratio run in one process on one core, in alternating blocks; a figure is
the median over rounds, with the smallest and the largest beside it.
"""

from __future__ import annotations

import argparse

import pyro
import torch

from tests.benchmarks import chaos, regret, rollouts, vae
from tests.benchmarks.ratio import alternate, one_core
from tests.benchmarks.workloads import WORKLOADS, gradient_variances


def print_times(workload: str, seconds: float, rounds: int) -> None:
    """Print how long a step of each takes, and its ratio to the first."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    steps = WORKLOADS[workload]()
    base, *_ = steps
    timed = alternate(steps, seconds=seconds, rounds=rounds)
    print(f"{workload}: {WORKLOADS[workload].__doc__}")
    for name in steps:
        middle, low, high = timed.ratio(name, base)
        print(
            f"  {name:26s}{timed.seconds(name) * 1e3:9.3f} ms"
            f"{middle:8.2f} of {base} ({low:.2f} to {high:.2f})"
        )


def print_variances(steps: int, repeats: int) -> None:
    """Print the variance of both gradients, and their ratio."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    print(f"variance: {repeats} gradients each, after {steps} steps of Adam.")
    found = gradient_variances(steps, repeats)
    base = found["reparameterized"]
    for name, variance in found.items():
        print(f"  {name:18s}{variance:12.4g}{base / variance:8.2f}x lower")


def print_moments(lessons: int, repeats: int) -> None:
    """Print the encoder's gradient variance by estimator, at one trained point."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    network = vae.trained()
    print(
        f"autoencoder: total variance of the encoder's gradient per image after 200 "
        f"steps, {lessons} gradients to learn from and {repeats} to measure; distance "
        "of the mean from REBAR's by hand, as a share of the gradient."
    )
    rows = vae.rows(network)
    if not any(name.startswith("Storchastic") for name in rows):
        print("  (Storchastic is not installed: its rows are left out)")
    found = {n: vae.moments(network, r, lessons, repeats) for n, r in rows.items()}
    base, *_ = found.values()
    for name, moments in found.items():
        print(
            f"  {name:26s}{moments.variance:12.4g}"
            f"{moments.variance / base.variance:9.3f} of the first"
            f"{moments.off(found['REBAR by hand, not tuned']):9.1%} off"
        )


def print_rollouts(seconds: float, rounds: int) -> None:
    """Print the time of one step in rollouts of several lengths."""
    print(f"rollouts: {rollouts.__doc__}")
    base, *_ = rollouts.LENGTHS
    for kind in rollouts.KINDS:
        steps = {str(n): s for n, s in rollouts.steps_of(kind).items()}
        timed = alternate(steps, seconds=seconds, rounds=rounds)
        for length in rollouts.LENGTHS:
            middle, low, high = (
                ratio * base / length for ratio in timed.ratio(str(length), str(base))
            )
            print(
                f"  {kind:24s}{length:5d} steps"
                f"{timed.seconds(str(length)) / length * 1e6:9.0f} us a step"
                f"{middle:8.2f} of {base} steps' ({low:.2f} to {high:.2f})"
            )


def print_chaos(repeats: int) -> None:
    """Print means and variances of a chaotic rollout's gradient."""
    particles = 200
    print(f"chaos: {repeats} gradients of {particles} particles. {chaos.__doc__}")
    for steps in (8, 15, 25):
        gain = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True)
        print(f"  {steps} steps: exactly {chaos.exact(gain, steps):.4g}")
        for name in chaos.NAMES:
            found = chaos.estimates(name, steps, particles, repeats)
            error = found.std() / repeats**0.5
            print(
                f"    {name:18s} mean {found.mean():10.4g} +- {error:.2g}"
                f"   variance {found.var():.3g}"
            )


def print_regret(lessons: int, repeats: int) -> None:
    """Print what `auto` has chosen, and how it does against the best fixed one."""
    print(
        f"auto: against the best fixed unbiased estimator, after {lessons} calls, over "
        f"{repeats}: variance x cost by the cost model, variance x seconds, and second "
        "moment x cost, which it minimises. 1 is no regret; intervals of 95%."
    )
    for name, problem in regret.PROBLEMS.items():
        print(f"  {regret.line(name, regret.measured(problem(), lessons, repeats))}")
    print("auto: what a call costs before its first row, in rows (the model says 10).")
    for name, fixed in regret.fixed_parts().items():
        print(f"  {name:40s}{fixed:8.0f}")


def main() -> None:
    """Time every workload, then measure the variances."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.25, help="of one block")
    parser.add_argument("--rounds", type=int, default=9, help="blocks of each side")
    parser.add_argument("--steps", type=int, default=400, help="before the variance")
    parser.add_argument("--repeats", type=int, default=600, help="for the variance")
    parser.add_argument("--lessons", type=int, default=1000, help="before the moments")
    parser.add_argument(
        "--only",
        choices=[*WORKLOADS, "rollouts", "chaos", "auto"],
        help="this workload alone",
    )
    chosen = parser.parse_args()
    one_core()
    # As in a finished program: both sides check less.
    pyro.enable_validation(False)
    for workload in WORKLOADS:
        if chosen.only in (None, workload):
            print_times(workload, chosen.seconds, chosen.rounds)
    if chosen.only in (None, "rollouts"):
        print_rollouts(chosen.seconds, chosen.rounds)
    if chosen.only in (None, "chaos"):
        print_chaos(chosen.repeats)
    if chosen.only in (None, "hybrid"):
        print_variances(chosen.steps, chosen.repeats)
    if chosen.only in (None, "autoencoder"):
        print_moments(chosen.lessons, chosen.repeats)
    if chosen.only in (None, "auto"):
        print_regret(chosen.lessons, chosen.repeats)


if __name__ == "__main__":
    main()
