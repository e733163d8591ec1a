"""Squashed policies: the preimage is what is scored."""

import math

import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from pgplugins import rl
from tests.statistics import parameter


def test_a_saturated_action_has_the_score_of_its_preimage():
    mu = torch.tensor([0.5, 0.5, 0.5], dtype=torch.float32, requires_grad=True)
    policy = rl.SquashedPolicy(dist.Normal(mu, 2.0))
    x = torch.tensor([0.3, 9.5, -60.0], dtype=torch.float32)
    assert policy.action(x)[1:].tolist() == [1.0, -1.0]
    assert policy.action(x).atanh()[1:].isinf().all()
    cost = torch.tensor([1.0, 2.0, -3.0], dtype=torch.float32)
    (found,) = torch.autograd.grad(pg.surrogate(policy.base, x, cost).sum(), mu)
    torch.testing.assert_close(found, cost * (x - 0.5) / 4)


def test_ratios_of_preimages_are_those_of_actions():
    mu, x = parameter(0.1, -0.3), torch.tensor([0.4, 1.2]).double()
    old = dist.Normal(torch.zeros(2).double(), 1.0)
    new = dist.Normal(mu, 1.5)
    between = [dist.transforms.TanhTransform()]
    action = x.tanh()
    densities = [
        dist.TransformedDistribution(law, between).log_prob(action)
        for law in (old, new)
    ]
    ratios = rl.importance_ratios(new, x, old.log_prob(x))
    torch.testing.assert_close(ratios.log, densities[1] - densities[0])


@pytest.mark.parametrize("event", [0, 1])
def test_the_density_is_that_of_the_action(event):
    base = dist.Normal(torch.tensor([0.1, -0.3]).double(), 0.8).to_event(event)
    policy = rl.SquashedPolicy(base, -1.0, 5.0)
    x = torch.tensor([[0.4, -1.2], [0.0, 2.0]]).double()
    between = [
        dist.transforms.TanhTransform(),
        dist.transforms.AffineTransform(2.0, 3.0, event_dim=0),
    ]
    exact = dist.TransformedDistribution(base, between).log_prob(policy.action(x))
    torch.testing.assert_close(policy.log_prob(x), exact)


def test_the_density_is_finite_at_the_bounds():
    policy = rl.SquashedPolicy(dist.Normal(torch.zeros(()), 1.0))
    found = policy.log_prob(torch.tensor(30.0)).item()
    # log(1 - tanh(x)^2) is 2 log 2 - 2 x far out.
    assert found == pytest.approx(
        -450 - 0.5 * math.log(2 * math.pi) - 2 * math.log(2) + 60
    )


def test_refused_in_words():
    with pytest.raises(pg.PgpluginsError, match="less than high"):
        rl.SquashedPolicy(dist.Normal(0.0, 1.0), 1.0, 1.0)
    with pytest.raises(pg.PgpluginsError, match="takes a distribution"):
        rl.SquashedPolicy(torch.zeros(2))
