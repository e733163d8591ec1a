"""Closed-form scores are what autograd finds."""

from __future__ import annotations

import pyro.distributions as dist
import torch

from pgplugins.core.parameters import parameters_of, with_parameters
from pgplugins.core.scores import closed_form_score


def test_normal_scores_equal_autograd() -> None:
    torch.manual_seed(0)
    for d in (
        torch.distributions.Normal(torch.randn(4, 3), torch.rand(4, 3) + 0.5),
        dist.Normal(torch.randn(4, 3), torch.rand(4, 3) + 0.5).to_event(1),
        dist.Normal(torch.randn(4, 3), torch.rand(4, 3) + 0.5).to_event(2),
    ):
        value = d.sample()
        closed = closed_form_score(d, value)
        assert closed is not None
        leaves = {
            name: p.detach().clone().requires_grad_()
            for name, p in parameters_of(d).items()
        }
        log_prob = with_parameters(d, leaves).log_prob(value).sum()
        found = torch.autograd.grad(log_prob, list(leaves.values()))
        for name, gradient in zip(leaves, found, strict=True):
            torch.testing.assert_close(closed[name], gradient)


def test_other_families_are_left_to_autograd() -> None:
    gamma = dist.Gamma(torch.ones(2), torch.ones(2))
    assert closed_form_score(gamma, gamma.sample()) is None
    log_normal = dist.LogNormal(torch.zeros(2), torch.ones(2))
    assert closed_form_score(log_normal, log_normal.sample()) is None


def test_a_subclass_with_another_density_is_left_to_autograd() -> None:
    class Tempered(torch.distributions.Normal):
        def log_prob(self, value: torch.Tensor) -> torch.Tensor:
            return 0.5 * super().log_prob(value)

    d = Tempered(torch.zeros(2), torch.ones(2))
    assert closed_form_score(d, d.sample()) is None
