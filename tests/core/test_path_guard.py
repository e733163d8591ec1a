"""The guard's budget: what chance does, what tails do, and what a bias does."""

import copy

import pytest
import torch

from pgplugins.core.path_guard import PathGuard


def feed(guard, calls, draw):
    """Feed calls of one row each until it breaks; returns how many it took."""
    for call in range(calls):
        score, difference = draw()
        guard.update(torch.stack([score, difference]).double()[None], 1)
        if guard.broken:
            return call + 1
    return calls


def normal(parameters, bias=0.0):
    return lambda: (torch.randn(parameters), bias + torch.randn(parameters))


def steep(parameters):
    """``f s - P`` of ``f = exp(1.5 x)``: mean zero, most of it below, a rare rest."""

    def draw():
        e = torch.randn(parameters)
        return e, (1.5 * e).exp() * (e - 1.5)

    return draw


def sixth_power(parameters):
    """The scale's ``f s - P`` for ``f = x^4``."""

    def draw():
        e = torch.randn(parameters)
        return e * e - 1, e**4 * (e * e - 1) - 4 * e**4

    return draw


@pytest.mark.parametrize(
    ("make", "parameters", "calls"),
    [(normal, 1, 40_000), (normal, 64, 20_000), (steep, 64, 20_000),
     (sixth_power, 64, 20_000), (sixth_power, 1000, 8000)],
)  # fmt: skip
def test_neither_chance_nor_tails_raise_an_alarm(make, parameters, calls):
    # Over 200,000 calls of 64 parameters each there was none of any kind; a limit of
    # 1.5 standard errors or none on the largest call fails here.
    torch.manual_seed(0)
    guard = PathGuard()
    feed(guard, calls, make(parameters))
    assert not guard.broken


def test_a_bias_is_noticed_in_time():
    # A tenth of the noise: 4 standard errors take 1600 calls, twice over.
    torch.manual_seed(0)
    assert feed(PathGuard(), 10_000, normal(1, bias=0.1)) < 6000
    assert feed(PathGuard(), 10_000, normal(1, bias=1.0)) < 2100
    # The chance is shared among many: it takes little longer.
    few = feed(PathGuard(), 10_000, normal(1, bias=0.3))
    many = feed(PathGuard(), 10_000, normal(64, bias=0.3))
    assert many < 2 * few


def test_a_bias_that_begins_late_is_noticed():
    # Without forgetting it would take 9,000 to 13,000 calls.
    torch.manual_seed(0)
    guard = PathGuard()
    feed(guard, 60_000, normal(1))
    assert feed(guard, 10_000, normal(1, bias=0.1)) < 8000


def test_a_multiple_of_the_score_is_no_evidence():
    torch.manual_seed(0)
    guard = PathGuard()

    def high():
        score = torch.randn(2)
        return score, 1e4 * score + 0.3 + torch.randn(2)

    assert feed(guard, 6000, high) < 3000
    guard = PathGuard()
    score = torch.ones(2)  # as often as not the same sign
    feed(guard, 6000, lambda: (score, 5 * score))
    assert not guard.broken


def test_calls_that_are_not_finite_are_left_out():
    torch.manual_seed(0)
    guard = PathGuard()
    draw = normal(2, bias=0.5)
    for _ in range(3000):
        score, difference = draw()
        if torch.rand(()) < 0.05:
            difference = difference * float("inf")
        guard.update(torch.stack([score, difference]).double()[None], 1)
    assert guard.broken
    assert all(v.isfinite().all() for v in guard.state_dict().values())


def test_it_starts_afresh_with_other_parameters():
    torch.manual_seed(0)
    guard = PathGuard()
    feed(guard, 1000, normal(2, bias=0.5))
    feed(guard, 20, normal(3))
    assert guard.waiting.shape == (20, 2, 3) and guard.sums is None
    assert guard.rows == 20 and guard.suspect[0] == -1


def test_a_saved_state_goes_on_to_the_same_call():
    torch.manual_seed(0)
    guard = PathGuard()
    feed(guard, 1303, normal(2, bias=0.2))
    assert guard.suspect[0] >= 0 and not guard.broken
    other = PathGuard()
    other.load_state_dict(copy.deepcopy(guard.state_dict()))
    found = []
    for each in (guard, other):
        torch.manual_seed(1)
        found.append(feed(each, 10_000, normal(2, bias=0.2)))
    assert found[0] == found[1] < 10_000
