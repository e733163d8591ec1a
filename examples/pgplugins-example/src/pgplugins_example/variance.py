"""Variance of ``stratified`` and ``reparameterized`` at equal evaluations of the cost.

R rows of one draw against R independent draws. The first cost adds up over the numbers
that are drawn, the second is the negative ELBO of a logistic regression, the third is
nothing but interaction between ten numbers.

    python -m pgplugins_example.variance
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pgplugins as pg
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pgplugins_example.stratified import Stratified

DIMENSION = 10


@dataclass(frozen=True)
class Problem:
    """An objective of ``pgplugins.compare``, with what it is differentiated for.

    Args:
        name: For the table.
        objective: A pair of cost and law, or a triple of model, guide and arguments.
        params: Tensors by name.
    """

    name: str
    objective: tuple[Any, ...]
    params: dict[str, Tensor]


def problems() -> list[Problem]:
    """Return the three objectives."""
    return [
        _expectation("sum of x^3 + x", lambda x: (x**3 + x).sum(-1)),
        _logistic_regression(),
        _expectation("sin(2 sum of x)", lambda x: (2 * x.sum(-1)).sin()),
    ]


def variances(problem: Problem, rows: int, runs: int) -> tuple[float, float]:
    """Return the total variance of the gradient: independent draws, stratified rows.

    Args:
        problem: What is differentiated.
        rows: Evaluations of the cost for one gradient.
        runs: Gradients that each variance is measured with.
    """

    def variance(estimator: str | pg.Estimator, draws: int) -> float:
        expectation = len(problem.objective) == 2
        elbo = pg.ELBO(
            num_particles=draws, vectorize_particles=True, max_plate_nesting=1
        )
        comparison = pg.compare(
            problem.objective,
            {"it": estimator},
            params=problem.params,
            num_samples=draws if expectation else None,
            elbo=None if expectation else elbo,
            num_runs=runs,
            seed=0,
        )
        return comparison.rows[0].variance

    return variance("reparameterized", rows), variance(Stratified(rows), 1)


def _expectation(name: str, cost: Callable[[Tensor], Tensor]) -> Problem:
    mean = torch.full((DIMENSION,), 0.3, requires_grad=True)
    scale = torch.full((DIMENSION,), 0.8, requires_grad=True)
    objective = (cost, lambda: dist.Normal(mean, scale).to_event(1))
    return Problem(name, objective, {"mean": mean, "scale": scale})


def _logistic_regression() -> Problem:
    """A hundred observations, a Normal guide at 0 with scale 0.3."""
    own = torch.Generator().manual_seed(0)
    inputs = torch.randn(100, DIMENSION, generator=own)
    truth = torch.randn(DIMENSION, generator=own)
    labels = torch.bernoulli((inputs @ truth).sigmoid(), generator=own)
    loc = torch.zeros(DIMENSION, requires_grad=True)
    scale = torch.full((DIMENSION,), 0.3, requires_grad=True)

    def model() -> None:
        prior = dist.Normal(torch.zeros(DIMENSION), 1.0).to_event(1)
        weights = pyro.sample("weights", prior)
        # Rows and particles lie to the left of the plate, whose dimension is a 1 here.
        logits = (weights * inputs).sum(-1)
        with pyro.plate("data", len(labels)):
            pyro.sample("label", dist.Bernoulli(logits=logits), obs=labels)

    def guide() -> None:
        pyro.sample("weights", dist.Normal(loc, scale).to_event(1))

    params = {"loc": loc, "scale": scale}
    return Problem("ELBO, logistic regression", (model, guide, ()), params)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000, help="gradients per entry")
    runs = parser.parse_args().runs
    print("| cost | evaluations | reparameterized | stratified | ratio |")
    print("|---|---|---|---|---|")
    for problem in problems():
        for rows in (2, 8, 32):
            plain, spread = variances(problem, rows, runs)
            print(
                f"| {problem.name} | {rows} | {plain:.3g} | {spread:.3g} | "
                f"{plain / spread:.1f} |"
            )


if __name__ == "__main__":
    main()
