"""Scripted draws: every path is run once, with its probability."""

import pytest
import torch
from torch.testing import assert_close

from pgplugins.testing.script import Bell, Coin, Die, exact_mean


def number(value):
    return torch.tensor(value, dtype=torch.float64)


def test_coins_and_dice_are_exact():
    coins = Coin(number([0.2, 0.7]))
    die = Die(number([0.1, 0.6, 0.3]))
    found = exact_mean(lambda: coins.sample().prod() * 10 + die.sample())
    assert found.told
    assert_close(found.value, number(0.2 * 0.7 * 10 + 0.6 + 2 * 0.3))


def test_later_draws_may_depend_on_earlier_ones():
    def run():
        first = Coin(number(0.3)).sample()
        return Coin(0.2 + 0.5 * first).sample() if first else first + 5.0

    assert_close(exact_mean(run).value, number(0.3 * 0.7 + 0.7 * 5))


@pytest.mark.parametrize(("power", "moment"), [(1, 0), (2, 1), (4, 3), (6, 15), (7, 0)])
def test_normals_are_exact_for_polynomials(power, moment):
    law = Bell(number(0.0), number(1.0))
    assert_close(exact_mean(lambda: law.sample() ** power).value, number(float(moment)))


def test_a_scripted_normal_is_attached():
    loc = number(0.5).requires_grad_()
    (found,) = torch.autograd.grad(Bell(loc, number(2.0)).rsample(), loc)
    assert found == 1
    assert not Bell(loc, number(2.0)).sample().requires_grad


def test_draws_from_elsewhere_are_noticed():
    coin = Coin(number(0.5))
    torch.manual_seed(0)
    found = exact_mean(lambda: coin.sample() + torch.rand(()))
    torch.manual_seed(0)
    # The same number on every path.
    assert_close(found.value, 0.5 + torch.rand(()).double())
    assert not found.told


def test_too_many_paths_are_noticed_at_once():
    runs = []
    coin = Coin(number(0.5)).expand([30])

    def run():
        runs.append(1)
        return coin.sample().sum()

    assert exact_mean(run) is None
    assert len(runs) == 1


def test_without_a_script_the_draws_are_the_laws():
    torch.manual_seed(0)
    coins = Coin(number(0.25)).sample((40_000,))
    bells = Bell(number(1.0), number(2.0)).sample((40_000,))
    faces = Die(number([0.5, 0.5, 0.0])).sample((40_000,))
    # Five standard errors each.
    assert abs(coins.mean() - 0.25) < 5 * 0.4331 / 200
    assert abs(bells.mean() - 1) < 5 * 2 / 200
    assert abs(faces.double().mean() - 0.5) < 5 * 0.5 / 200
