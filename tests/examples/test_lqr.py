"""Riccati's gains are the minimum of the exact expected cost."""

import pytest
import torch

from tests.examples.loading import load

lqr = load("lqr")


@pytest.mark.parametrize("horizon", [1, 8])
def test_the_best_gains_are_best(horizon):
    gains = lqr.best_gains(horizon).requires_grad_()
    cost = lqr.expected_cost(gains, 0.5)
    (slope,) = torch.autograd.grad(cost, gains)
    assert slope.abs().max() < 1e-5
    torch.manual_seed(0)
    for _ in range(10):
        other = gains.detach() + 0.1 * torch.randn_like(gains)
        assert lqr.expected_cost(other, 0.5) > cost
