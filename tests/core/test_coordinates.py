"""Coordinates for polynomials: units of the law, and tame tails."""

import math

import pyro.distributions as dist
import pytest
import torch

from pgplugins.core.coordinates import coordinates


def test_a_normal_is_standardised_exactly():
    law = torch.distributions.Normal(torch.tensor([5.0, -2.0]), torch.tensor([2.0, 3]))
    sample = torch.tensor([11.0, -14.0])
    assert coordinates(law, sample).tolist() == [[3.0], [-4.0]]


def test_the_sample_alone_is_differentiated():
    loc = torch.tensor(1.0, requires_grad=True)
    scale = torch.tensor(2.0, requires_grad=True)
    sample = torch.tensor(4.0, requires_grad=True)
    u = coordinates(torch.distributions.Normal(loc, scale), sample)
    found = torch.autograd.grad(u.sum(), [loc, scale, sample], allow_unused=True)
    assert found[0] is None and found[1] is None
    assert found[2] == 0.5


@pytest.mark.parametrize("x", [7.0, -7.0, 20.0, -1e6])
def test_tails_grow_like_a_logarithm(x):
    law = torch.distributions.Normal(torch.zeros(()), 1.0)
    sample = torch.tensor(x, requires_grad=True)
    u = coordinates(law, sample)
    beyond = max(abs(x) - 8, 0)
    want = math.copysign(abs(x) - beyond + math.log1p(beyond), x)
    assert u.item() == pytest.approx(want, rel=1e-5)
    (slope,) = torch.autograd.grad(u.sum(), sample)
    assert slope.item() == pytest.approx(1 / (1 + beyond), rel=1e-4)


@pytest.mark.parametrize(
    "law",
    [
        torch.distributions.Cauchy(torch.zeros(2), 1.0),  # has no mean
        torch.distributions.StudentT(torch.full((2,), 1.5)),  # has no variance
        dist.RelaxedBernoulli(torch.tensor(0.5), torch.full((2,), 0.3)),  # says neither
    ],
)
def test_without_moments_the_sample_is_as_it_is(law):
    sample = torch.tensor([0.25, 0.5])
    assert coordinates(law, sample).tolist() == [[0.25], [0.5]]


def test_events_are_flattened():
    law = dist.Normal(torch.zeros(4, 2, 3), 2.0).to_event(2)
    sample = torch.randn(4, 2, 3)
    torch.testing.assert_close(coordinates(law, sample), sample.reshape(4, 6) / 2)
