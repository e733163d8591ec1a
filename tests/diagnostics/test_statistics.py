"""Streaming statistics against direct formulas, and intervals against their promise."""

import math

import numpy as np
import pytest
import torch

from pgplugins.diagnostics.intervals import (
    LEVEL,
    Measured,
    efficiency,
    median_interval,
    median_time,
    signal_to_noise,
)
from pgplugins.diagnostics.statistics import (
    GradientStatistics,
    bias_limit,
    bias_test,
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


def test_parameters_and_coordinates_have_the_variances_of_the_two_pass_formulas(
    generator,
):
    rows = torch.randn(300, 5, generator=generator, dtype=torch.float64)
    rows = 1e3 + rows * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    stats = GradientStatistics(2, 3)
    for row in rows:
        stats.add(row)
    each = rows.var(0)
    for number, whole in enumerate((each[:2].sum(), each[2:].sum())):
        found = stats.variance_of_parameter(number)
        assert found.value == pytest.approx(whole.item(), rel=1e-9)
        # Its own interval, as if there were no other parameter.
        alone = statistics_of(rows[:, :2] if number == 0 else rows[:, 2:])
        assert found.interval == pytest.approx(alone.variance_interval())
    for number, one in enumerate(each.tolist()):
        found = stats.variance_of_coordinate(number)
        assert found.value == pytest.approx(one, rel=1e-9)
        alone = statistics_of(rows[:, number : number + 1])
        assert found.interval == pytest.approx(alone.variance_interval())


def test_the_freedom_is_that_of_the_residuals_two_pass_spread(generator):
    rows = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    residuals = [
        (1 - 1 / (i + 1)) * ((rows[i] - rows[:i].mean(0)) ** 2).sum().item()
        for i in range(1, 50)
    ]
    spread = np.var(residuals)
    want = 2 * np.mean(residuals) ** 2 * len(residuals) / spread
    assert statistics_of(rows).freedom == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("size", [1, 10_000])
def test_the_limit_is_where_the_p_value_becomes_significant(size):
    stats = GradientStatistics(size)
    for i in range(400):
        row = torch.zeros(size, dtype=torch.float64)
        row[0] = (-1.0) ** i  # mean 0, the standard error 1/sqrt(399)
        stats.add(row)
    limit, zero = bias_limit(stats, 1e-6), torch.zeros(size, dtype=torch.float64)
    for factor, significant in ((0.99, False), (1.01, True)):
        exact = zero.clone()
        exact[0] = factor * limit * stats.squared_error[0].sqrt()
        found = bias_test(stats, exact, zero)
        assert (found.p < 1e-6) is significant


def test_signal_to_noise_covers(generator):
    """Mean 0.3 and deviation 1, from 100 runs, and a reference from 100 others.

    A true coverage of 0.95 leaves [0.910, 0.982] once in 20,000 seeds.
    """
    covered = 0
    for _ in range(600):
        runs, others = torch.randn(
            2, 100, 1, generator=generator, dtype=torch.float64
        ).add(0.3)
        stats = statistics_of(runs)
        found = signal_to_noise(
            others.mean().abs().item(),
            (others.std() / 10).item(),
            Measured(stats.variance, stats.variance_interval()),
        )
        covered += found.interval[0] <= 0.3 <= found.interval[1]
    assert 0.910 < covered / 600 < 0.982
