"""What counts as a deviation, and what it costs."""

import math

import pytest
import torch

from pgplugins.testing.evidence import (
    FALSE_ALARM,
    LIMIT,
    CheckFailed,
    Ledger,
    look,
    require_mean,
)


def samples(n, *, skewed=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return noise.exp() - math.exp(0.5) if skewed else noise


def test_the_limit_is_the_budgets():
    assert math.isclose(math.erfc(LIMIT / math.sqrt(2)), FALSE_ALARM, rel_tol=1e-6)


@pytest.mark.parametrize("skewed", [False, True])
def test_right_means_pass_and_shifted_ones_do_not(skewed):
    # 200 x 3 comparisons at 1e-8 each.
    for seed in range(200):
        found = samples(2000, skewed=skewed, seed=seed)
        assert look(found, torch.zeros(3)).ratio < 1
    error = float(found.std() / math.sqrt(2000))
    assert look(found + 14 * error, torch.zeros(3)).ratio > 1


def test_small_samples_of_skewed_numbers_are_given_more_room():
    plain, skewed = samples(500), samples(500, skewed=True)
    plain, skewed = plain / plain.std(0), skewed / skewed.std(0)
    truth = torch.zeros(3)
    assert look(skewed, truth).resolution > 1.2 * look(plain, truth).resolution


def test_what_is_not_a_number_fails():
    found = samples(100)
    found[3, 1] = math.nan
    verdict = look(found, torch.zeros(3))
    assert verdict.worst == 1
    assert verdict.ratio == math.inf


def test_exact_estimates_are_held_to_rounding():
    truth = torch.tensor([1.0, -2.0, 0.0], dtype=torch.float64)
    still = truth.expand(50, 3)
    assert look(still, truth).ratio < 1
    assert look(still * (1 + 1e-7), truth).ratio > 1
    assert look(still, truth).clear


def test_looks_go_on_until_a_tenth_would_be_seen():
    asked, ledger = [], Ledger()

    def draw(size):
        asked.append(size)
        return 1 + samples(size, seed=size)

    truth = torch.ones(3, dtype=torch.float64)
    verdict = require_mean(draw, truth, (100, 5000, 10**6), "abc", "it", ledger)
    # Of mean and spread one: (LIMIT + 2) / sqrt(n) is a tenth for n = 5,970.
    assert asked[:2] == [100, 4900]
    assert len(asked) == 3
    assert 6000 < 5000 + asked[2] < 10_000
    assert verdict.clear
    assert ledger.resolution == verdict.resolution
    assert ledger.comparisons == 9
    assert ledger.false_alarms == 9 * FALSE_ALARM


def test_a_failure_says_what_was_found():
    truth = torch.tensor([2.0, 1.0], dtype=torch.float64)
    wrong = 0.9 * truth + 0.01 * samples(1000)[:, :2]
    with pytest.raises(CheckFailed, match=r"'b' is 0\.89.* exactly 1, 0\.9"):
        require_mean(
            lambda size: wrong / torch.tensor([0.9, 1.0]),
            truth,
            (1000,),
            "ab",
            "the gradient",
            Ledger(),
        )
