"""The Riccati recursion against autograd of the exact expected cost."""

import dataclasses

import pytest
import torch

from pgplugins.diagnostics.main_job.lqr import Regulator, cart


def expected_cost(regulator, gain, log_sigma):
    """Propagate the state's covariance and add up the costs."""
    variance = (2 * log_sigma).exp()
    closed_loop = regulator.transition - regulator.control @ gain
    stage = regulator.state_cost + gain.T @ regulator.action_cost @ gain
    total = torch.zeros((), dtype=torch.float64)
    covariance = regulator.initial_covariance
    for _ in range(regulator.horizon):
        total = total + (stage @ covariance).trace()
        total = total + variance * regulator.action_cost.trace()
        covariance = (
            closed_loop @ covariance @ closed_loop.T
            + variance * regulator.control @ regulator.control.T
            + regulator.noise_covariance
        )
    return total + (regulator.final_cost @ covariance).trace()


def several_actions():
    generator = torch.Generator().manual_seed(0)

    def matrix(*shape):
        return 0.5 * torch.randn(*shape, generator=generator, dtype=torch.float64)

    def covariance(n):
        root = matrix(n, n)
        return root @ root.T

    return Regulator(
        horizon=5,
        transition=matrix(3, 3),
        control=matrix(3, 2),
        state_cost=covariance(3),
        action_cost=covariance(2),
        final_cost=covariance(3),
        initial_covariance=covariance(3),
        noise_covariance=covariance(3),
    )


@pytest.mark.parametrize("horizon", [1, 8])
@pytest.mark.parametrize("regulator", [cart(), several_actions()])
def test_closed_form_equals_autograd(regulator, horizon):
    regulator = dataclasses.replace(regulator, horizon=horizon)
    shape = regulator.control.T.shape
    gain = torch.linspace(-0.4, 0.9, shape.numel(), dtype=torch.float64)
    gain = gain.reshape(shape).requires_grad_()
    log_sigma = torch.tensor(-0.7, dtype=torch.float64, requires_grad=True)
    loss = expected_cost(regulator, gain, log_sigma)
    want = torch.autograd.grad(loss, (gain, log_sigma))
    found = regulator.exact_gradient(gain, log_sigma)
    torch.testing.assert_close(found["gain"], want[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found["log_sigma"], want[1], rtol=1e-12, atol=1e-12)
