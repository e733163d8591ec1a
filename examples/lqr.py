"""A policy gradient on a linear-quadratic regulator, written as a Pyro program.

A cart is to be brought to rest. The policy is u_t ~ Normal(-K_t x_t, sigma) with a gain
of its own at each step; its best expected cost is known from Riccati's recursion. The
gains are learned with several gradient estimators, from several seeds each, and after
every update the exact expected cost of the policy is compared with the best.

    python examples/lqr.py --plot lqr.png
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from statistics import median
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from rich.console import Console
from rich.progress import Progress, TaskID
from torch import Tensor

import pgplugins as pg

ESTIMATORS = ("score_function", "reparameterized", "hybrid")

# x' = A x + B u + noise, with x = (position, velocity).
# The cost of a step is x'Qx + u'Ru, that of the end x'Fx.
A = torch.tensor([[1.0, 0.25], [0.0, 1.0]])
B = torch.tensor([[0.03], [0.25]])
Q = torch.diag(torch.tensor([1.0, 0.5]))
R = torch.tensor([[0.1]])
F = torch.diag(torch.tensor([2.0, 2.0]))
START = torch.diag(torch.tensor([0.5, 0.4]))
NOISE = torch.diag(torch.tensor([0.02, 0.05]))


def option(default: Any, text: str) -> Any:
    """A field of the settings, with its line in ``--help``."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """What can be set on the command line."""

    seed: int = option(0, "first of the seeds")
    seeds: int = option(5, "runs of each estimator, with consecutive seeds")
    horizon: int = option(8, "number of actions")
    sigma: float = option(0.5, "standard deviation of the policy")
    rollouts: int = option(16, "rollouts per update")
    updates: int = option(300, "updates of the gains")
    rate: float = option(0.05, "learning rate of Adam")
    runs: int = option(200, "gradients that each estimator's variance is taken from")
    plot: str = option("", "write a picture to this file")
    tiny: bool = option(False, "finish within seconds")


def form(matrix: Tensor, vector: Tensor) -> Tensor:
    """The quadratic form v'Mv over the last dimension."""
    return ((vector @ matrix) * vector).sum(-1)


def make_rollout(gains: Tensor, sigma: float) -> Callable[[], None]:
    """Return a program that runs one rollout and states its costs.

    Under an objective with particles each particle is one rollout.
    """
    start = dist.MultivariateNormal(torch.zeros(2), START)
    scale = NOISE.sqrt()

    def rollout() -> None:
        x = pyro.sample("start", start)
        for t, gain in enumerate(gains):
            policy = dist.Normal(-x @ gain.T, sigma).to_event(1)
            u = pyro.sample(f"force_{t}", policy)
            pg.cost(f"cost_{t}", form(Q, x) + form(R, u))
            x = x @ A.T + u @ B.T + torch.randn_like(x) @ scale
        pg.cost("final", form(F, x))

    return rollout


def expected_cost(gains: Tensor, sigma: float) -> Tensor:
    """The exact expected cost: the state's covariance, step by step."""
    covariance, total = START, torch.zeros(())
    for gain in gains:
        closed_loop = A - B @ gain
        total = total + ((Q + gain.T @ R @ gain) @ covariance).trace()
        total = total + sigma**2 * R.trace()
        covariance = closed_loop @ covariance @ closed_loop.T
        covariance = covariance + sigma**2 * B @ B.T + NOISE
    return total + (F @ covariance).trace()


def best_gains(horizon: int) -> Tensor:
    """Riccati's recursion, from the last action to the first."""
    p, gains = F, []
    for _ in range(horizon):
        gain = torch.linalg.solve(R + B.T @ p @ B, B.T @ p @ A)
        p = Q + A.T @ p @ (A - B @ gain)
        gains.append(gain)
    return torch.stack(gains[::-1])


def train(
    estimator: str, seed: int, settings: Settings, bar: Progress, task: TaskID
) -> list[float]:
    """Learn the gains from zero; the exact expected cost after every update."""
    pyro.set_rng_seed(seed)
    gains = torch.zeros(settings.horizon, 1, 2, requires_grad=True)
    optimizer = torch.optim.Adam([gains], lr=settings.rate)
    rollout = make_rollout(gains, settings.sigma)
    # The start is the environment's draw: it has no parameters to learn.
    objective = pg.ExpectedCost(
        estimators={"force_*": estimator},
        num_particles=settings.rollouts,
        max_plate_nesting=0,
        # Which force has an effect on which cost is the same at every run.
        static=True,
    )
    costs = []
    for _ in range(settings.updates):
        optimizer.zero_grad()
        objective(rollout).backward()
        optimizer.step()
        costs.append(expected_cost(gains.detach(), settings.sigma).item())
        bar.advance(task)
    return costs


def measure(settings: Settings) -> dict[str, float]:
    """Total variance of one gradient at the start of training, by estimator."""
    gains = torch.zeros(settings.horizon, 1, 2, requires_grad=True)
    exact = torch.autograd.grad(expected_cost(gains, settings.sigma), gains)[0]
    found = pg.compare(
        make_rollout(gains, settings.sigma),
        ESTIMATORS,
        params={"gains": gains},
        num_particles=settings.rollouts,
        reference={"gains": exact},
        num_runs=settings.runs,
        seed=settings.seed,
    )
    return {row.estimator: row.variance for row in found.rows}


def updates_until(costs: list[float], level: float) -> float:
    """The number of updates after which the cost was first below a level."""
    return next((i + 1 for i, c in enumerate(costs) if c < level), math.inf)


def draw_picture(curves: dict[str, list[list[float]]], best: float, path: str) -> None:
    """Draw how far the policies are from the best after every update."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    for i, (name, runs) in enumerate(curves.items()):
        above = [[cost / best - 1 for cost in costs] for costs in runs]
        for costs in above:
            ax.semilogy(costs, color=f"C{i}", alpha=0.25, linewidth=1)
        middle = [median(at_once) for at_once in zip(*above, strict=True)]
        # Dashed, so that curves on top of one another are both seen.
        style = {"color": f"C{i}", "linestyle": "--" if name == "hybrid" else "-"}
        ax.semilogy(middle, **style, label=f"{name}, median of {len(runs)}")
    ax.set_xlabel("update")
    ax.set_ylabel("expected cost above the Riccati optimum, relative")
    ax.legend()
    figure.savefig(path, dpi=150)


def parse() -> Settings:
    """Read the settings from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for entry in fields(Settings):
        flag, text = f"--{entry.name.replace('_', '-')}", entry.metadata["help"]
        if isinstance(entry.default, bool):
            parser.add_argument(flag, action="store_true", help=text)
        else:
            kind = type(entry.default)
            parser.add_argument(flag, type=kind, default=entry.default, help=text)
    return Settings(**vars(parser.parse_args()))


def main() -> None:
    """Train with every estimator and print how far each got."""
    settings = parse()
    if settings.tiny:
        settings = replace(settings, horizon=4, updates=60, runs=30, seeds=1)
    torch.set_num_threads(1)
    # pg.compare shows a progress bar of its own.
    variances = measure(settings)
    curves = {}
    console = Console(stderr=True)
    with Progress(
        console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        for name in ESTIMATORS:
            task = bar.add_task(name, total=settings.seeds * settings.updates)
            curves[name] = [
                train(name, settings.seed + i, settings, bar, task)
                for i in range(settings.seeds)
            ]
    best = expected_cost(best_gains(settings.horizon), settings.sigma).item()
    start = expected_cost(torch.zeros(settings.horizon, 1, 2), settings.sigma).item()
    print(f"Expected cost of doing nothing {start:.3f}, Riccati optimum {best:.3f}")
    print(f"Medians of {settings.seeds} runs:")
    heads = ("final cost", "above optimum", "within 5% after", "variance at start")
    print(f"  {'':16s}{''.join(f'{head:>19s}' for head in heads)}")
    for name, runs in curves.items():
        final = median(costs[-1] for costs in runs)
        updates = median(updates_until(costs, 1.05 * best) for costs in runs)
        print(
            f"  {name:16s}{final:19.3f}{final / best - 1:19.2%}"
            f"{f'{updates:g}' if math.isfinite(updates) else 'never':>19s}"
            f"{variances[name]:19.3g}"
        )
    if settings.plot:
        draw_picture(curves, best, settings.plot)
        print(f"picture: {settings.plot}")


if __name__ == "__main__":
    main()
