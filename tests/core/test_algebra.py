"""Tensors whose value and gradient are chosen apart."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgplugins.core.algebra import (
    leave_one_out_mean,
    spread,
    without_direct_gradient,
    zero_valued,
)
from tests.statistics import parameter

SHAPES = st.sampled_from([(1,), (4,), (3, 1), (3, 4), (2, 1, 4), (2, 3, 4)])


def test_without_direct_gradient_keeps_the_value_and_drops_the_gradient():
    theta = parameter(0.3, -0.8)
    held = without_direct_gradient(theta**2)
    assert torch.equal(held, theta**2)
    (gradient,) = torch.autograd.grad(held.sum(), theta)
    assert torch.equal(gradient, torch.zeros(2, dtype=torch.float64))


def test_without_direct_gradient_leaves_other_uses_of_the_density_alone():
    theta = parameter(0.3, -0.8)
    log_prob = theta**2
    without_direct_gradient(log_prob)
    (gradient,) = torch.autograd.grad(log_prob.sum(), theta)
    torch.testing.assert_close(gradient, 2 * theta.detach())


def test_without_direct_gradient_of_a_constant_is_the_constant():
    constant = torch.tensor([1.0, 2.0])
    assert torch.equal(without_direct_gradient(constant), constant)


def test_zero_valued_has_value_zero_and_all_derivatives():
    theta = parameter(0.7)
    zero = zero_valued(theta**3)
    (first,) = torch.autograd.grad(zero, theta, create_graph=True)
    (second,) = torch.autograd.grad(first, theta)
    assert zero.item() == 0
    assert first.item() == pytest.approx(3 * 0.7**2)
    assert second.item() == pytest.approx(6 * 0.7)


@settings(deadline=None, max_examples=40)
@given(n=st.integers(2, 6), m=st.integers(1, 3), dim=st.sampled_from([0, 1, -1, -2]))
def test_leave_one_out_mean_is_the_mean_of_the_others(n, m, dim):
    shape = (n, m) if dim in (0, -2) else (m, n)
    cost = torch.randn(shape, dtype=torch.float64)
    found = leave_one_out_mean(cost, dim)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        want = cost.index_select(dim, torch.tensor(others)).mean(dim)
        torch.testing.assert_close(found.select(dim, i), want)


def test_leave_one_out_mean_does_not_depend_on_its_own_entry():
    cost = parameter(1.0, 4.0, -2.0)
    jacobian = torch.autograd.functional.jacobian(
        lambda c: leave_one_out_mean(c, 0), cost.detach()
    )
    want = (1 - torch.eye(3, dtype=torch.float64)) / 2
    torch.testing.assert_close(jacobian, want)


@settings(deadline=None, max_examples=60)
@given(shape=SHAPES, dtype=st.sampled_from([torch.float32, torch.float64]))
def test_spread_shows_every_element_the_cost_and_counts_it_once(shape, dtype):
    full = (2, 3, 4)
    cost = torch.randn(shape, dtype=dtype, requires_grad=True)
    found = spread(cost, full)
    assert found.shape == full
    assert found.dtype == dtype
    torch.testing.assert_close(found, cost.expand(full))
    (gradient,) = torch.autograd.grad(found.sum(), cost)
    torch.testing.assert_close(gradient, torch.ones(shape, dtype=dtype))


def test_spread_divides_the_gradient_evenly():
    cost = parameter(5.0).reshape(1)
    shares = spread(cost, (4,))
    for share in shares:
        (gradient,) = torch.autograd.grad(share, cost, retain_graph=True)
        assert gradient.item() == pytest.approx(0.25)


def test_spread_keeps_dimensions_that_only_the_cost_has():
    cost = torch.arange(6.0).reshape(2, 3, 1).requires_grad_()
    found = spread(cost, (3, 4))
    assert torch.equal(found, cost.expand(2, 3, 4))
    (gradient,) = torch.autograd.grad(found.sum(), cost)
    assert torch.equal(gradient, torch.ones(2, 3, 1))


@settings(deadline=None, max_examples=30)
@given(shape=SHAPES)
def test_spread_for_scores_has_the_same_value(shape):
    cost = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    log_prob = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(
        spread(cost, (2, 3, 4), log_prob), cost.expand(2, 3, 4), rtol=0, atol=0
    )
