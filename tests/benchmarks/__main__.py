"""Print a table of ratios: ``python -m tests.benchmarks``.

Both sides of a ratio run in one process on one core, in alternating blocks; a figure is
the median over rounds, with the smallest and the largest beside it.
"""

from __future__ import annotations

import argparse

import pyro

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
            f"  {name:18s}{timed.seconds(name) * 1e3:9.3f} ms"
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


def main() -> None:
    """Time every workload, then measure the variances."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.25, help="of one block")
    parser.add_argument("--rounds", type=int, default=9, help="blocks of each side")
    parser.add_argument("--steps", type=int, default=400, help="before the variance")
    parser.add_argument("--repeats", type=int, default=600, help="for the variance")
    chosen = parser.parse_args()
    one_core()
    # As in a finished program: both sides check less.
    pyro.enable_validation(False)
    for workload in WORKLOADS:
        print_times(workload, chosen.seconds, chosen.rounds)
    print_variances(chosen.steps, chosen.repeats)


if __name__ == "__main__":
    main()
