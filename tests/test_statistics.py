"""The yardstick itself: it sees an error of 10%, and seldom cries wolf."""

import math

import pytest
import torch

from tests.statistics import assert_mean, assert_variance, limit, zscore

TRUTH = torch.tensor([3.0, -2.0], dtype=torch.float64)


def noisy(mean, n=40_000):
    return mean + 4 * torch.randn(n, 2, dtype=torch.float64)


def test_the_truth_passes_at_every_seed():
    for seed in range(50):
        torch.manual_seed(seed)
        assert_mean(noisy(TRUTH), TRUTH)


@pytest.mark.parametrize("factor", [0.9, 1.1, 0.5, -1.0, 0.0])
def test_an_error_of_a_tenth_is_seen_at_every_seed(factor):
    for seed in range(20):
        torch.manual_seed(seed)
        with pytest.raises(AssertionError, match="z"):
            assert_mean(noisy(factor * TRUTH), TRUTH)


def test_samples_too_few_to_see_it_are_refused():
    with pytest.raises(AssertionError, match="too few"):
        assert_mean(noisy(TRUTH, n=100), TRUTH)


def test_coordinates_without_spread_are_held_to_rounding():
    still = torch.ones(5, 1, dtype=torch.float64)
    assert zscore(still, torch.ones(1)).item() == 0
    assert zscore(still, torch.ones(1) + 1e-6).item() == math.inf


def test_the_limit_is_the_bonferroni_quantile():
    inside = math.erf(limit(10) / math.sqrt(2))
    assert 10 * (1 - inside) == pytest.approx(1e-6, rel=1e-4)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_variance_off_by_a_tenth_is_seen(factor):
    sample = noisy(TRUTH)
    assert_variance(sample, torch.tensor([16.0, 16.0]))
    with pytest.raises(AssertionError, match="exact"):
        assert_variance(sample, torch.tensor([16.0, 16.0]) / factor)
