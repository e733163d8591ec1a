"""What `auto` costs against the best fixed estimator, problem by problem.

Every unbiased estimator that fits a problem is measured at one point of its parameters,
and `auto` beside them, once its pilot is over. Those that turn out biased there (the
cost jumps) do not count.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch.distributions import Distribution

import pgplugins as pg
from pgplugins.core.fit import misfit
from pgplugins.diagnostics.main_job.logistic_regression import load_data
from pgplugins.diagnostics.main_job.logistic_regression import (
    model_and_guide as regression,
)
from pgplugins.diagnostics.main_job.lqr import cart
from pgplugins.diagnostics.recognition import as_objective
from pgplugins.diagnostics.result import Row
from pgplugins.infer.choice import EstimatorRules
from pgplugins.selection.race import cost_of
from tests.benchmarks.ratio import Block, alternate


@dataclass(frozen=True)
class Problem:
    """An objective as :func:`pgplugins.compare` takes it.

    Args:
        objective: What is estimated.
        params: What is differentiated for; ``None`` for Pyro's store.
        law: What its sites draw from.
        elsewhere: What the estimator has to serve besides.
        sites: Their names; two at most are shown.
        options: How many draws a call has, and what ``compare`` takes besides.
    """

    objective: Any
    params: dict[str, torch.Tensor] | None
    law: Distribution
    sites: tuple[str, ...]
    options: dict[str, Any]
    elsewhere: tuple[Distribution, ...] = ()

    @property
    def draws(self) -> int:
        """How many independent draws a call has."""
        found = [self.options.get(k) for k in ("num_samples", "num_particles")]
        elbo = self.options.get("elbo")
        return next((n for n in found if n), None) or elbo.num_particles


@dataclass(frozen=True)
class Regret:
    """How `auto` did.

    Args:
        chosen: What it chose at each site.
        by_cost: Its variance times cost over the least of the fixed ones.
        best_by_cost: The fixed one that has the least.
        by_seconds: The same with seconds.
        best_by_seconds: Likewise.
        interval: Of the ratio of variances to ``best_by_cost``.
        by_moment: One particle's second moment times cost over the least of the fixed
            ones: what it minimises.
    """

    chosen: tuple[str, ...]
    by_cost: float
    best_by_cost: str
    by_seconds: float
    best_by_seconds: str
    interval: tuple[float, float]
    by_moment: float


def parameter(value: Any) -> torch.Tensor:
    """Return a leaf in double precision."""
    return torch.as_tensor(value, dtype=torch.float64).clone().requires_grad_()


def expectation(cost: Any, law: Callable[[], Distribution], n: int, **params: Any):
    """A plain expectation with ``n`` samples."""
    return Problem((cost, law), params, law(), ("expectation",), {"num_samples": n})


def coin() -> Problem:
    """One Bernoulli, a quadratic cost."""
    b = parameter(0.4)
    return expectation(
        lambda x: (x - 0.3) ** 2, lambda: dist.Bernoulli(logits=b), 16, b=b
    )


def coins() -> Problem:
    """Twenty Bernoullis in one event, a cost that joins them."""
    b = parameter(torch.linspace(-1, 1, 20))
    return expectation(
        lambda x: (x.sum(-1) - 7.0) ** 2,
        lambda: dist.Bernoulli(logits=b).to_event(1),
        8,
        b=b,
    )


def categories() -> Problem:
    """A Categorical with two hundred values."""
    logits = parameter(torch.randn(200, generator=torch.Generator().manual_seed(0)))
    return expectation(
        lambda x: ((x - 100.0) / 100) ** 3,
        lambda: dist.Categorical(logits=logits),
        8,
        logits=logits,
    )


def counts() -> Problem:
    """A Poisson, a cost with a kink."""
    rate = parameter(3.0)
    return expectation(
        lambda x: (x - 2.0).abs(), lambda: dist.Poisson(rate), 16, rate=rate
    )


def quadratic() -> Problem:
    """A Normal, a quadratic cost."""
    mu, s = parameter(1.5), parameter(0.8)
    return expectation(
        lambda x: (x - 0.3) ** 2, lambda: dist.Normal(mu, s), 16, mu=mu, s=s
    )


def jump() -> Problem:
    """A Normal, a cost that jumps."""
    mu, s = parameter(0.0), parameter(1.0)
    return expectation(
        lambda x: 5.0 * (x > 0.2).double() + 0.1 * x,
        lambda: dist.Normal(mu, s),
        32,
        mu=mu,
        s=s,
    )


def mixture() -> Problem:
    """An ELBO: a Bernoulli for each of fifty observations."""
    own = torch.Generator().manual_seed(0)
    data = 2 * torch.rand(50, generator=own).round() + torch.randn(50, generator=own)

    def model() -> None:
        with pyro.plate("data", 50):
            z = pyro.sample("z", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(2 * z, 1.0), obs=data)

    def guide() -> None:
        logits = pyro.param("logits", torch.zeros(50))
        with pyro.plate("data", 50):
            pyro.sample("z", dist.Bernoulli(logits=logits))

    law = dist.Bernoulli(logits=torch.zeros(50, requires_grad=True))
    elbo = pg.ELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1)
    return Problem((model, guide, ()), None, law, ("z",), {"elbo": elbo})


def logistic_regression() -> Problem:
    """An ELBO: the breast-cancer data, a mean-field Normal guide."""
    model, guide = regression(*load_data())
    loc = torch.zeros(31, dtype=torch.float64, requires_grad=True)
    law = dist.Normal(loc, torch.ones_like(loc)).to_event(1)
    elbo = pg.ELBO(num_particles=16, vectorize_particles=True, max_plate_nesting=1)
    return Problem((model, guide, ()), None, law, ("weights",), {"elbo": elbo})


def regulator() -> Problem:
    """A linear-quadratic regulator: eight actions in a row."""
    lqr = cart()
    gain, log_sigma = parameter([[0.5, 0.8]]), parameter(-1.0)
    program = lqr.program(gain, log_sigma)
    law = dist.Normal(gain[:, 0], log_sigma.exp()).to_event(1)
    exact = lqr.exact_gradient(gain, log_sigma)
    params = {"gain": gain, "log_sigma": log_sigma}
    options = {"num_particles": 32, "reference": exact}
    start = dist.MultivariateNormal(torch.zeros(2).double(), lqr.initial_covariance)
    sites = ("force_0", "force_7")
    return Problem(program, params, law, sites, options, (start,))


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "Bernoulli": coin,
    "20 Bernoullis, joined": coins,
    "Categorical, 200 values": categories,
    "Poisson": counts,
    "Normal, quadratic": quadratic,
    "Normal, jump": jump,
    "plated Bernoulli ELBO": mixture,
    "logistic regression ELBO": logistic_regression,
    "linear-quadratic regulator": regulator,
}


def measured(problem: Problem, lessons: int, repeats: int) -> Regret:
    """Measure `auto` and all fixed unbiased estimators that fit."""
    pyro.clear_param_store()
    fixed = {}
    for name in pg.available():
        estimator = pg.estimator(name)
        traits = estimator.traits
        if traits.unbiased and traits.cost_evaluations != "choice":
            laws = (problem.law, *problem.elsewhere)
            if all(misfit(estimator, law) is None for law in laws):
                rows = estimator.draw(problem.law).rows
                fixed[name] = cost_of(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pg.compare(
            problem.objective,
            [*fixed, "auto"],
            params=problem.params,
            num_warmup=lessons,
            num_runs=repeats,
            seed=0,
            **problem.options,
        )
        chosen = choices(problem, lessons)
    rows = {row.estimator: row for row in found.rows}
    mine = rows.pop("auto")
    assert not mine.biased, f"auto is biased: z {mine.bias_z:.1f}"
    fair = [row for row in rows.values() if not row.biased]
    costs = {**fixed, **{"auto": sum(fixed[c] for c in chosen) / len(chosen)}}
    signal = next(r.snr**2 * r.variance for r in fair if r.variance > 1e-20)

    def criterion(row: Row) -> float:
        moment = signal + problem.draws * row.variance
        return moment * costs[row.estimator]

    by_cost = min(fair, key=lambda row: row.variance * costs[row.estimator])
    by_seconds = min(fair, key=lambda row: row.variance * row.seconds)
    return Regret(
        tuple(dict.fromkeys(chosen)),
        _ratio(mine, by_cost) * costs["auto"] / costs[by_cost.estimator],
        by_cost.estimator,
        _ratio(mine, by_seconds) * mine.seconds / by_seconds.seconds,
        by_seconds.estimator,
        _interval(mine, by_cost),
        criterion(mine) / min(map(criterion, fair)),
    )


def choices(problem: Problem, lessons: int) -> list[str]:
    """Let `auto` learn once more, and return what it has chosen at each site."""
    options = {k: v for k, v in problem.options.items() if k != "reference"}
    options = {"num_samples": None, "num_particles": None, "elbo": None, **options}
    objective = as_objective(problem.objective, **options)
    in_use = objective.in_use(EstimatorRules("auto"))
    pyro.set_rng_seed(1)
    for _ in range(lessons):
        in_use.loss().backward()
    found = in_use.estimators()
    return [pg.estimator(found[site].choice).name for site in problem.sites]


def _ratio(mine: Row, best: Row) -> float:
    """Ratio of variances; 1 where there is none but rounding on either side."""
    floor = 1e-12 * max(mine.variance, best.variance, 1e-12)
    return (mine.variance + floor) / (best.variance + floor)


def _interval(mine: Row, best: Row) -> tuple[float, float]:
    """Bounds of the ratio of variances, from the intervals of both."""
    if best.variance < 1e-20:
        return math.nan, math.nan
    (low, high), (least, most) = mine.variance_interval, best.variance_interval
    return low / most, high / least


def line(name: str, found: Regret) -> str:
    """Lay out one problem."""
    low, high = found.interval
    return (
        f"{name:28s}{', '.join(found.chosen):18s}{found.by_cost:7.2f} of "
        f"{found.best_by_cost:16s}{found.by_seconds:7.2f} s of "
        f"{found.best_by_seconds:16s}{found.by_moment:6.2f} by moment "
        f"(variance {low:.2f} to {high:.2f})"
    )


def fixed_parts() -> dict[str, float]:
    """Measure what a call takes before its first row, in rows, on two programs."""
    found = {}
    for particles in (1, 16):
        for name, make in (("arithmetic", _cheap), ("569 likelihoods", _costly)):
            pyro.clear_param_store()
            few, many = make(2, particles), make(64, particles)
            timed = alternate(
                {"few": Block(few), "many": Block(many)}, seconds=0.1, rounds=5
            )
            seconds = [timed.seconds(k) for k in ("few", "many")]
            row = max((seconds[1] - seconds[0]) / 62, 1e-9)
            label = f"{name}, {particles} particle{'s' * (particles > 1)}"
            found[label] = max(seconds[0] / row - 2, 0.0)
    return found


def _cheap(values: int, particles: int) -> Callable[[], object]:
    logits = torch.zeros(values, requires_grad=True)
    return lambda: pg.expectation(
        lambda x: (x.float() - 0.3) ** 2,
        dist.Categorical(logits=logits),
        estimator="enumerate",
        num_samples=particles,
    ).backward()


def _costly(values: int, particles: int) -> Callable[[], object]:
    features, labels = load_data()
    weights = torch.randn(values, features.shape[1], dtype=features.dtype)

    def model() -> None:
        k = pyro.sample("k", dist.Categorical(torch.ones(values)))
        logits = weights[k.squeeze(-1) if k.dim() else k] @ features.T
        with pyro.plate("data", len(features)):
            pyro.sample("label", dist.Bernoulli(logits=logits), obs=labels)

    def guide() -> None:
        logits = pyro.param(f"logits_{values}", torch.zeros(values))
        pyro.sample("k", dist.Categorical(logits=logits))

    elbo = pg.ELBO(
        num_particles=particles,
        vectorize_particles=True,
        max_plate_nesting=1,
        estimators="enumerate",
    )
    return lambda: elbo.loss_and_grads(model, guide)
