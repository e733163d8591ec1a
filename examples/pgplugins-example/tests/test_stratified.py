"""Rows, one per stratum, each with the law; and what is refused."""

import math
from collections.abc import Callable
from importlib.metadata import entry_points

import pgplugins as pg
import pyro.distributions as dist
import pytest
import torch
from pgplugins.testing import parametrize_with_checks
from torch.distributions import (
    AffineTransform,
    Distribution,
    Gumbel,
    StickBreakingTransform,
    TanhTransform,
)

import pgplugins_example
from pgplugins_example import Stratified
from pgplugins_example.variance import problems, variances

LAWS = {
    "Normal": dist.Normal(0.3, 0.8),
    "Laplace": dist.Laplace(0.3, 0.8),
    "Logistic": dist.Logistic(0.3, 0.8),
    "Cauchy": dist.Cauchy(0.3, 0.8),
    "Exponential": dist.Exponential(1.4),
    "Uniform": dist.Uniform(-1.0, 2.0),
    "HalfNormal": dist.HalfNormal(0.8),
    "LogNormal": dist.LogNormal(0.3, 0.8),
    "Gumbel": Gumbel(torch.tensor(0.3), torch.tensor(0.8)),
    "Weibull": dist.Weibull(1.2, 0.8),
    "decreasing": dist.TransformedDistribution(
        dist.Normal(0.3, 0.8), [TanhTransform(cache_size=1), AffineTransform(1.0, -2.0)]
    ),
    "to_event": dist.Normal(torch.tensor([0.3, -1.0]), 0.8).to_event(1),
    "expanded": dist.Exponential(1.4).expand((2, 3)).to_event(1),
    "simplex": dist.TransformedDistribution(
        dist.Normal(torch.tensor([0.3, -0.4]), 0.8).to_event(1),
        [StickBreakingTransform()],
    ),
}


@parametrize_with_checks([Stratified()])
def test_conformance(
    estimator: pg.Estimator, check: Callable[[pg.Estimator], None]
) -> None:
    """Every check of the conformance kit that its traits call for."""
    check(estimator)


def test_it_is_found_by_its_name() -> None:
    """Through the entry point, and not because this file imports it."""
    (entry,) = entry_points(group="pgplugins", name="stratified")
    assert entry.load() is pgplugins_example
    assert type(pg.estimator("stratified", rows=3)) is Stratified


@pytest.mark.parametrize("rows", [2, 5])
def test_every_stratum_gets_one_row(rows: int) -> None:
    """For every number that is drawn, in float32 as in float64."""
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        law = dist.Normal(torch.zeros(400, 3, dtype=dtype), 2.0).to_event(1)
        draw = Stratified(rows).draw(law)
        assert draw.weight is None
        assert draw.value.dtype == dtype
        places = (law.base_dist.cdf(draw.value) * rows).sort(0).values
        start = torch.arange(rows, dtype=dtype).reshape(-1, 1, 1)
        # Rounding may move what lies at the edge of a stratum.
        assert (places > start - 1e-4).all()
        assert (places < start + 1 + 1e-4).all()


def test_numbers_have_orders_of_their_own() -> None:
    """Over batch elements and within events, each pair of strata is equally likely.

    Fails with probability 2e-7 if they are; pairs that share their order one time in
    ten would be off by six times what is allowed.
    """
    torch.manual_seed(0)
    rows, size = 2, 100_000
    law = dist.Normal(torch.zeros(size, 2), 1.0).to_event(1)
    lower = Stratified(rows).draw(law).value[0] < 0
    for first, second in (
        (lower[:, 0], lower[:, 1]),
        (lower[:-1, 0], lower[1:, 0]),
    ):
        agree = (first == second).double().mean() - 0.5
        assert abs(float(agree)) < 5.33 * 0.5 / math.sqrt(len(first))


@pytest.mark.parametrize("name", LAWS)
def test_a_row_has_the_law(name: str) -> None:
    """Kolmogorov and Smirnov's two-sample test of one row against ``sample``.

    Each coordinate fails with probability 1e-8 if the law is right (Wei and Dudley
    2012), 3e-7 in all; a law that is off by 0.05 in probability anywhere fails.
    """
    torch.manual_seed(0)
    law: Distribution = LAWS[name]
    n = 20_000
    many = law.expand((n, *law.batch_shape))
    assert Stratified().refusal(many) is None
    row = Stratified(3).draw(many).value[1].reshape(n, -1)
    fresh = law.sample((n,)).reshape(n, -1)
    assert row.isfinite().all()
    allowed = math.sqrt(-math.log(1e-8 / 2) / n)
    for drawn, wanted in zip(row.T, fresh.T, strict=True):
        ordered, both = wanted.sort().values, torch.cat([drawn, wanted])
        gap = torch.searchsorted(drawn.sort().values, both, right=True)
        gap = gap - torch.searchsorted(ordered, both, right=True)
        assert float(gap.abs().max()) / n < allowed


@pytest.mark.parametrize(
    "law",
    [
        dist.Gamma(2.0, 1.0),
        dist.MultivariateNormal(torch.zeros(2), torch.eye(2)),
        dist.Beta(2.0, 1.0).expand((3,)).to_event(1),
        dist.InverseGamma(2.0, 1.0),
    ],
)
def test_laws_without_quantiles_are_refused(law: Distribution) -> None:
    """With a reason, and an estimator to write instead."""
    with pytest.raises(pg.PgpluginsError, match=r"icdf.*reparameterized"):
        pg.expectation(lambda x: x.square(), law, estimator="stratified")


@pytest.mark.parametrize("rows", [1, 0, 2.0, True, "8"])
def test_rows_are_an_integer_above_one(rows: object) -> None:
    """What is written otherwise is an error that says so."""
    with pytest.raises(pg.PgpluginsError, match="integer above 1"):
        pg.estimator("stratified", rows=rows)


def test_an_instance_says_what_it_costs() -> None:
    """The traits of an instance follow its option, and the class keeps its own."""
    assert pg.estimator("stratified", rows=3).traits.cost_evaluations == 3
    assert Stratified.traits.cost_evaluations == pg.estimator("stratified").rows == 8


def test_the_variance_is_what_the_readme_says() -> None:
    """At 8 evaluations a sixth on the ELBO, a half on the sum, the same on the sine.

    A variance of 300 gradients is known to about 8% (one standard error), a ratio to
    12%; the bounds are six standard errors away from the measured ratios.
    """
    ratios = []
    for problem in problems():
        plain, spread = variances(problem, rows=8, runs=300)
        ratios.append(plain / spread)
    on_sum, on_elbo, on_sine = ratios
    assert on_elbo > 3.2
    assert on_sum > 1.3
    assert 0.6 < on_sine < 2
