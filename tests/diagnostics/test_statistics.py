"""Streaming statistics against direct formulas, and intervals against their promise."""

import math

import numpy as np
import pytest
import torch

from pgplugins.diagnostics.statistics import (
    LEVEL,
    GradientStatistics,
    Measured,
    bias_test,
    efficiency,
    median_interval,
    median_time,
)


def statistics_of(rows):
    stats = GradientStatistics(rows.shape[1])
    for row in rows:
        stats.add(row)
    return stats


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_streaming_figures_equal_the_two_pass_formulas(generator):
    rows = 1e3 + torch.randn(200, 5, generator=generator, dtype=torch.float64)
    stats = statistics_of(rows)
    torch.testing.assert_close(stats.mean, rows.mean(0))
    assert stats.variance == pytest.approx(rows.var(0).sum().item(), rel=1e-9)
    torch.testing.assert_close(stats.squared_error, rows.var(0) / 200)


@pytest.mark.parametrize(
    ("draw", "lowest"),
    [
        pytest.param(lambda g: torch.randn(60, 3, generator=g), 0.895, id="normal"),
        # Kurtosis 9: sixty runs do not show all of the tail.
        pytest.param(
            lambda g: torch.empty(60, 3).exponential_(generator=g), 0.856, id="skewed"
        ),
    ],
)
def test_variance_interval_covers(draw, lowest, generator):
    # A longer simulation covered 0.937 and 0.907; the bounds are three standard errors
    # of 300 binomial trials below that.
    covered = 0
    for _ in range(300):
        low, high = statistics_of(draw(generator)).variance_interval()
        covered += low <= 3.0 <= high
    assert lowest < covered / 300 < 0.99


def test_median_interval_covers():
    # Exact coverage with 20 values is 0.9586; 4000 trials have a standard error of
    # 0.003, so this fails once in 10,000 seeds.
    values = np.random.default_rng(0).lognormal(size=(4000, 20))
    intervals = [median_interval(v.tolist()) for v in values]
    covered = np.mean([low <= 1.0 <= high for low, high in intervals])
    assert covered == pytest.approx(0.9586, abs=0.012)


def test_median_interval_is_the_tightest_that_reaches_the_level():
    # P(Binomial(20, 1/2) <= 5) = 0.0207, P(... <= 6) = 0.0577: the 6th and 15th.
    assert median_interval([float(i) for i in range(1, 21)]) == (6.0, 15.0)
    assert 1 - 2 * 0.0207 >= LEVEL > 1 - 2 * 0.0577


def test_efficiency_interval_with_a_known_time_is_that_of_the_variance():
    seconds = Measured(0.01, (0.01, 0.01))
    found = efficiency(Measured(4.0, (2.0, 5.0)), seconds)
    assert found.value == pytest.approx(25.0)
    assert found.interval == pytest.approx((20.0, 50.0))


def test_efficiency_interval_adds_both_uncertainties_in_quadrature():
    factor = math.e
    one = Measured(1.0, (1 / factor, factor))
    low, high = efficiency(one, one).interval
    assert (math.log(low), math.log(high)) == pytest.approx((-(2**0.5), 2**0.5))


def test_median_time_is_robust_to_a_slow_block():
    seconds = [1e-3] * 19 + [1.0]
    assert median_time(seconds) == Measured(1e-3, (1e-3, 1e-3))


def test_bias_test_keeps_its_level_when_coordinates_depend_on_each_other(generator):
    # Šidák is conservative for dependent coordinates: at most 0.05 of 400 null cases,
    # with four standard errors (0.011) on top.
    alarms = 0
    for _ in range(400):
        common = torch.randn(40, 1, generator=generator, dtype=torch.float64)
        own = torch.randn(40, 6, generator=generator, dtype=torch.float64)
        rows = common + 0.7 * own
        zero = torch.zeros(6, dtype=torch.float64)
        alarms += bias_test(statistics_of(rows), zero, zero).p < 0.05
    assert alarms / 400 < 0.05 + 0.044


def test_bias_test_has_the_sign_of_the_worst_coordinate(generator):
    rows = torch.randn(400, 3, generator=generator, dtype=torch.float64)
    exact = torch.tensor([0.0, 0.5, 0.0], dtype=torch.float64)
    found = bias_test(statistics_of(rows), exact, torch.zeros_like(exact))
    assert found.z == pytest.approx(-10.0, abs=4)
    assert found.p < 1e-6


def test_bias_test_counts_the_error_of_the_reference():
    rows = torch.tensor([[0.0], [2.0]], dtype=torch.float64)
    reference_error = torch.tensor([3.0], dtype=torch.float64)
    found = bias_test(statistics_of(rows), torch.zeros(1), reference_error)
    assert found.z == pytest.approx(1 / (1 + 3) ** 0.5, rel=1e-9)


def test_estimates_without_spread_are_judged_by_rounding():
    exact = torch.tensor([1.0, 1e-9])
    for off, biased in ((1e-7, False), (1e-3, True)):
        rows = (exact + off).expand(30, 2)
        found = bias_test(statistics_of(rows), exact.double(), torch.zeros(2))
        assert (found.p < 1e-6) is biased
    same = bias_test(statistics_of(exact.expand(30, 2)), exact.double(), torch.zeros(2))
    assert (same.z, same.p) == (0.0, 1.0)


def test_heavy_tails_leave_few_degrees_of_freedom():
    """One run in a hundred a hundred times the others: its variance is that one."""
    light, heavy = GradientStatistics(1), GradientStatistics(1)
    generator = torch.Generator().manual_seed(0)
    for i in range(200):
        value = torch.randn(1, generator=generator, dtype=torch.float64)
        light.add(value)
        heavy.add(value * (100 if i % 100 == 50 else 1))
    assert 120 < light.freedom <= 280  # 199, give or take what the kurtosis may vary
    assert heavy.freedom < 6
    exact = torch.full((1,), 6.0) * light.squared_error.sqrt()
    zero = torch.zeros(1)
    for heavy_tails in (False, True):
        assert bias_test(light, exact, zero, heavy_tails=heavy_tails).p < 1e-6
    shifted = heavy.mean + 6 * heavy.squared_error.sqrt()
    assert bias_test(heavy, shifted, zero).p < 1e-6
    assert bias_test(heavy, shifted, zero, heavy_tails=True).p > 1e-4
