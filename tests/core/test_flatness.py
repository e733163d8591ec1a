"""Costs that vary without a gradient are refused; no other cost is."""

import pytest
import torch

import pgplugins as pg
from pgplugins.core.flatness import guard_flat_cost
from tests.statistics import parameter

LOC = parameter(0.1)


def draws(*shape):
    return LOC + torch.randn(*shape, dtype=torch.float64)


def guarded(cost, *values):
    guard_flat_cost(values, cost, "Normal", "reparameterized")
    return cost


FLAT_BACKWARD = {
    "round": lambda x: x.round(),
    "sign": lambda x: torch.sign(x) * 2,
    "where of zeros": lambda x: torch.where(x > 0, 0 * x + 1, 0 * x),
    "floor plus detached": lambda x: x.floor() + x.detach(),
}


@pytest.mark.parametrize("f", FLAT_BACKWARD.values(), ids=FLAT_BACKWARD)
def test_paths_that_carry_only_zeros_are_refused_in_backward(f):
    x = draws(64)
    cost = guarded(f(x), x)
    with pytest.raises(pg.PgpluginsError, match=r"Normal.*reparameterized") as caught:
        cost.sum().backward()
    assert "score_function" in str(caught.value)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: (x > 0).double(),
        lambda x: x.detach() ** 2,
        lambda x: LOC * x.detach(),
    ],
)
def test_costs_without_a_path_to_the_sample_are_refused_at_once(f):
    x = draws(64)
    with pytest.raises(pg.PgpluginsError, match="Normal"):
        guarded(f(x), x)


PARAMETERS = parameter(1.0, 2.0, 3.0)
FINE = {
    "smooth": lambda x: x**2,
    "constant": torch.ones_like,
    "constant up to rounding": lambda x: 1e6 + 1e-9 * x.detach(),
    "parameters of the cost only": lambda x: PARAMETERS.expand(x.shape),
    "flat in places": torch.relu,
}


@pytest.mark.parametrize("f", FINE.values(), ids=FINE)
def test_no_false_alarm(f):
    x = draws(64, 3)
    cost = guarded(f(x), x)
    wanted = torch.autograd.grad(
        f(x).sum() + 0 * x.sum(), LOC, retain_graph=True, allow_unused=True
    )
    got = torch.autograd.grad(cost.sum() + 0 * x.sum(), LOC, allow_unused=True)
    assert got == wanted


def test_a_single_draw_is_compared_across_its_batch():
    x = draws(1, 50)
    with pytest.raises(pg.PgpluginsError, match="differs"):
        guarded((x > 0).double(), x)


def test_one_site_with_a_gradient_is_enough():
    x, y = draws(64), draws(64)
    cost = guarded(x.round() + y**2, x, y)
    (got,) = torch.autograd.grad(cost.sum(), LOC)
    torch.testing.assert_close(got, (2 * y.detach()).sum())


def test_all_sites_flat_are_refused_when_the_last_is_reached():
    x, y = draws(64), draws(64)
    cost = guarded(x.round() + y.sign(), x, y)
    with pytest.raises(pg.PgpluginsError, match="zero everywhere"):
        cost.sum().backward()


def test_detached_draws_have_nothing_to_guard():
    x = draws(64).detach()
    assert torch.equal(guarded(x.sign(), x), x.sign())
