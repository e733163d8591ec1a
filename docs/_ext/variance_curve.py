"""An estimator's mean and variance over a parameter, measured, with the closed forms.

The directive ``variance-curve`` measures the estimator of that name when the pages are
built. As a script it draws any of them with as many calls as it is told:

    python docs/_ext/variance_curve.py hybrid --replicates 100000 --plot hybrid.png
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from docutils import nodes
from generated_figure import show
from matplotlib.figure import Figure
from measured import Case, Measured, Settings, measure, moments
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata
from torch import Tensor

import pgplugins as pg

Form = Callable[[float, int], float]
"""From the parameter and the number of draws to a mean or a variance."""


@dataclass(frozen=True)
class Family:
    """Problems along a parameter.

    Args:
        axis: What the parameter is called.
        values: Where it is measured.
        what: The gradient of what, and in which parameter.
        measure: Measures an estimator at a value.
        leaf: The parameter that the gradient is for.
        mean: The exact gradient.
        variances: Exact variances by estimator.
        beside: Estimators whose variance is drawn on every page, for comparison.
    """

    axis: str
    values: tuple[float, ...]
    what: str
    measure: Callable[[str, float, Settings], Measured]
    leaf: str
    mean: Callable[[float], float]
    variances: Mapping[str, Form]
    beside: tuple[str, ...] = ()


OFFSET = -1.3
"""Of the mean from the minimum of the quadratic cost."""
TARGET = 0.3
"""Of the cost of a Bernoulli choice."""
PRICES = torch.tensor([0.3, 2.0, 1.0, -1.0, 0.0, 0.7], dtype=torch.float64)


def _of_covariance(n: int, joint: float, mean: float, product: float) -> float:
    """Variance of a sample covariance, which leave-one-out is, of n costs and scores.

    Args:
        n: The number of draws.
        joint: ``E[(f - E f)^2 s^2]``.
        mean: ``E[f s]``.
        product: ``var(f) var(s)``.
    """
    return joint / n - (n - 2) / (n * (n - 1)) * mean**2 + product / (n * (n - 1))


def _quadratic(name: str, s: float, settings: Settings) -> Measured:
    case = Case(
        "quadratic",
        {"s": s},
        lambda p: dist.Normal(0.0, p["s"]),
        lambda x: (x + OFFSET) ** 2,
    )
    return measure(case, name, settings)


def _quadratic_score(s: float, n: int) -> float:
    d, joint = OFFSET**2, 40 * OFFSET**2 + 60 * s**2
    return _of_covariance(n, joint, 2 * s, 8 * d + 4 * s**2)


QUADRATIC = Family(
    axis="standard deviation s",
    values=(0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0),
    what="E (x - 1.3)^2 in s, x ~ Normal(0, s)",
    measure=_quadratic,
    leaf="s",
    mean=lambda s: 2 * s,
    variances={
        "score_function": _quadratic_score,
        "reparameterized": lambda s, n: (4 * OFFSET**2 + 8 * s**2) / n,
        "antithetic": lambda s, n: 8 * s**2 / n,
        "measure_valued": lambda s, n: 4 * (OFFSET**2 + s**2) / n,
    },
    beside=("score_function", "reparameterized"),
)


def _bound(name: str, s: float, settings: Settings) -> Measured:
    """Measure on an ELBO of a Normal prior and a Normal guide."""
    pyro.set_rng_seed(settings.seed)
    count = settings.replicates
    loc = torch.full((count,), 0.7, dtype=torch.float64, requires_grad=True)
    zero = torch.zeros((), dtype=torch.float64)

    def model() -> None:
        with pyro.plate("replicates", count):
            pyro.sample("z", dist.Normal(zero, 1.0))

    def guide() -> None:
        with pyro.plate("replicates", count):
            pyro.sample("z", dist.Normal(loc, s))

    elbo = pg.ELBO(
        num_particles=settings.samples,
        vectorize_particles=True,
        max_plate_nesting=1,
        estimators=name,
    )
    loss = elbo.differentiable_loss(model, guide)
    (found,) = torch.autograd.grad(loss, loc)
    return moments({"mu": found}, evaluations=1)


BOUND = Family(
    axis="standard deviation s of the guide",
    values=(0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0),
    what="a negative ELBO in mu, guide Normal(mu, s), posterior Normal(0, 1)",
    measure=_bound,
    leaf="mu",
    mean=lambda s: 0.7,
    variances={
        "doubly_reparameterized": lambda s, n: (s - 1 / s) ** 2 / n,
        "reparameterized": lambda s, n: s**2 / n,
    },
    beside=("reparameterized",),
)


def _coin(name: str, p: float, settings: Settings) -> Measured:
    case = Case(
        "coin",
        {"logit": float(np.log(p / (1 - p)))},
        lambda parameters: dist.Bernoulli(logits=parameters["logit"]),
        lambda b: (b - TARGET) ** 2,
    )
    return measure(case, name, settings)


def _coin_leave_one_out(p: float, n: int) -> float:
    q = p * (1 - p)
    inner = q * (1 - 3 * q) - q**2 * (n - 3) / (n - 1)
    return (1 - 2 * TARGET) ** 2 * inner / n


def _coin_disarm(p: float, n: int) -> float:
    q = p * (1 - p)
    return q * (1 - 2 * TARGET) ** 2 * (max(p, 1 - p) / 2 - q) / n


COIN = Family(
    axis="probability p",
    values=(0.05, 0.15, 0.3, 0.4, 0.6, 0.75, 0.9),
    what="E (b - 0.3)^2 in the logit of p, b ~ Bernoulli(p)",
    measure=_coin,
    leaf="logit",
    mean=lambda p: p * (1 - p) * (1 - 2 * TARGET),
    variances={
        "score_function": _coin_leave_one_out,
        "disarm": _coin_disarm,
        "enumerate": lambda p, n: 0.0,
    },
    beside=("score_function",),
)


def _prices(name: str, logit: float, settings: Settings) -> Measured:
    def law(p: Mapping[str, Tensor]) -> dist.Categorical:
        others = torch.zeros(*p["logit"].shape, len(PRICES) - 1).to(p["logit"])
        return dist.Categorical(logits=torch.cat([p["logit"][..., None], others], -1))

    return measure(
        Case("prices", {"logit": logit}, law, lambda k: PRICES[k]), name, settings
    )


def _first(logit: float) -> float:
    return float(np.exp(logit) / (np.exp(logit) + len(PRICES) - 1))


def _prices_sum_and_sample(logit: float, n: int) -> float:
    p = _first(logit)
    return (p * (1 - p)) ** 2 * PRICES[1:].var(correction=0).item() / n


def _prices_score(logit: float, n: int) -> float:
    p = _first(logit)
    mass = torch.full_like(PRICES, (1 - p) / (len(PRICES) - 1))
    score = torch.full_like(PRICES, -p)
    mass[0], score[0] = p, 1 - p
    centred = PRICES - (mass * PRICES).sum()

    def mean(values: Tensor) -> float:
        return (mass * values).sum().item()

    product = mean(centred**2) * mean(score**2)
    return _of_covariance(
        n, mean((centred * score) ** 2), mean(centred * score), product
    )


CHOICE = Family(
    axis="logit of the first point",
    values=(0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0),
    what="E f(k) in the first logit, k ~ Categorical of six points",
    measure=_prices,
    leaf="logit",
    mean=lambda a: _first(a) * (1 - _first(a)) * (PRICES[0] - PRICES[1:].mean()).item(),
    variances={
        "sum_and_sample": _prices_sum_and_sample,
        "score_function": _prices_score,
    },
    beside=("score_function",),
)


def _counts(name: str, rate: float, settings: Settings) -> Measured:
    case = Case(
        "counts",
        {"rate": rate},
        lambda p: dist.Poisson(p["rate"]),
        lambda k: (k - 2) ** 2,
    )
    return measure(case, name, settings)


COUNTS = Family(
    axis="rate",
    values=(0.5, 1.0, 2.0, 3.0, 5.0, 8.0),
    what="E (k - 2)^2 in the rate, k ~ Poisson(rate)",
    measure=_counts,
    leaf="rate",
    mean=lambda rate: 2 * (rate - 2) + 1,
    variances={"finite_difference": lambda rate, n: 4 * rate / n},
)

FAMILIES: dict[str, Family] = {
    "antithetic": QUADRATIC,
    "auto": QUADRATIC,
    "disarm": COIN,
    "doubly_reparameterized": BOUND,
    "enumerate": COIN,
    "finite_difference": COUNTS,
    "gumbel_softmax": COIN,
    "hybrid": QUADRATIC,
    "lax": QUADRATIC,
    "measure_valued": QUADRATIC,
    "rebar": COIN,
    "reinmax": COIN,
    "relax": COIN,
    "reparameterized": QUADRATIC,
    "score_function": QUADRATIC,
    "straight_through": COIN,
    "sum_and_sample": CHOICE,
    "total_propagation": QUADRATIC,
    "unordered_set": CHOICE,
}
"""On which problems an estimator is shown."""

NOTHING = 1e-20
"""A variance below this is what rounding leaves."""


@cache
def found(name: str, settings: Settings) -> tuple[Measured, ...]:
    """Measure an estimator along its family."""
    family = FAMILIES[name]
    return tuple(
        # Independent random numbers, so that chance does not look like a pattern.
        family.measure(name, value, replace(settings, seed=settings.seed + i))
        for i, value in enumerate(family.values)
    )


def draw(name: str, settings: Settings) -> Figure:
    """Draw means on the left and variances on the right."""
    family, n = FAMILIES[name], settings.samples
    measured = found(name, settings)
    grid = np.linspace(family.values[0], family.values[-1], 200)
    figure = Figure(figsize=(8.5, 3.6), layout="constrained")
    figure.suptitle(f"Gradient of {family.what}", fontsize="medium")
    left, right = figure.subplots(1, 2)
    left.plot(grid, [family.mean(v) for v in grid], "-", label="exact")
    means = [m.mean[family.leaf].item() for m in measured]
    left.plot(family.values, means, "o", label=f"{name}, measured")
    left.set_ylabel("mean of the gradients")
    if np.ptp(means) < 0.1 * max(map(abs, means)):
        # A constant is shown as one, not as its noise.
        left.set_ylim(0, 2 * max(means))
    variances = [m.variance[family.leaf] for m in measured]
    dashes = iter([{"linestyle": "--"}, {"linestyle": ":"}])
    for other in dict.fromkeys((*family.beside, name)):
        form = family.variances.get(other)
        if form is None or all(form(v, n) <= NOTHING for v in grid):
            continue
        exact = [max(form(v, n), NOTHING) for v in grid]
        # As on the left: the exact curve of this estimator in the first colour.
        dress = {"color": "C0"} if other == name else {"color": "0.55", **next(dashes)}
        right.plot(grid, exact, label=f"{other}, closed form", **dress)
    if max(variances) > NOTHING:
        errors = [2 * m.error[family.leaf] for m in measured]
        right.errorbar(
            family.values, variances, errors, fmt="o", color="C1", label="measured"
        )
    else:
        right.plot([], [], "o", color="C1", label="measured: none, to rounding")
    low = min((v for v in variances if v > NOTHING), default=1e-5)
    right.set_yscale("log")
    right.set_ylim(bottom=low / 5)
    right.set_ylabel(f"variance, {n} draws")
    for ax in (left, right):
        ax.set_xlabel(family.axis)
        ax.legend(fontsize="x-small")
    return figure


class VarianceCurve(SphinxDirective):
    """Mean and variance of an estimator over a parameter."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """Measure, draw and show."""
        name = self.arguments[0]
        text = f"Mean and variance of {name}, measured and exact"
        stem, source = f"variance-{name}", Path(__file__)
        return show(self, stem, lambda: draw(name, Settings()), text, source)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("variance-curve", VarianceCurve)
    return {"parallel_read_safe": True}


def main() -> None:
    """Measure and write the figure of one estimator."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(FAMILIES))
    parser.add_argument("--replicates", type=int, default=100_000)
    parser.add_argument("--warmup", type=int, default=500)
    parser.add_argument("--plot", default="variance.png", help="write it here")
    given = parser.parse_args()
    settings = Settings(replicates=given.replicates, warmup=given.warmup)
    draw(given.name, settings).savefig(given.plot, dpi=150)


if __name__ == "__main__":
    main()
