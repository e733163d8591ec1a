"""Supports that move with a parameter, and those that only look so."""

import pyro.distributions as dist
import pytest
import torch

from pgplugins.core.support import support_may_move, support_moves

transforms = dist.transforms


def leaf(value=1.0):
    return torch.tensor(value, requires_grad=True)


def transformed(base, *parts):
    return dist.TransformedDistribution(base, list(parts))


def affine(loc, scale):
    return transforms.AffineTransform(loc, scale)


EXPONENTIAL = dist.Exponential(torch.tensor(1.0))
UNIT = dist.Uniform(torch.zeros(2), torch.ones(2))
MOVING = {
    "a bound": lambda: dist.Uniform(0.0, leaf()),
    "a bound of many": lambda: dist.Uniform(torch.zeros(2), leaf().expand(2)),
    "to_event": lambda: dist.Uniform(torch.zeros(2), leaf()).to_event(1),
    "expanded": lambda: dist.ExpandedDistribution(dist.Uniform(0.0, leaf())),
    "masked": lambda: dist.Uniform(0.0, leaf()).mask(torch.tensor(True)),
    "folded": lambda: dist.FoldedDistribution(dist.Uniform(-1.0, leaf())),
    "a component": lambda: dist.MaskedMixture(
        torch.tensor(True), dist.Normal(0.0, 1.0), dist.Uniform(0.0, leaf())
    ),
    "transformed": lambda: transformed(
        dist.Uniform(0.0, leaf()), transforms.ExpTransform()
    ),
    "shifted": lambda: transformed(EXPONENTIAL, affine(leaf(), 1.0)),
    "scaled on both sides": lambda: transformed(
        dist.Uniform(-1.0, 1.0), affine(0.0, leaf())
    ),
    "squashed, then scaled": lambda: transformed(
        dist.Logistic(0.0, 1.0), transforms.SigmoidTransform(), affine(0.0, leaf())
    ),
    "joined": lambda: transformed(
        UNIT.to_event(1),
        transforms.LowerCholeskyAffine(torch.zeros(2), leaf() * torch.eye(2)),
    ),
    "Pareto": lambda: dist.Pareto(leaf(), torch.tensor(1.0)),
    "GeneralizedPareto": lambda: dist.GeneralizedPareto(
        0.0, leaf(), torch.tensor(-0.5)
    ),
}
RESTING = {
    "numbers": lambda: dist.Uniform(0.0, 1.0),
    "held": lambda: dist.Uniform(torch.tensor(0.0), leaf().detach()),
    "no bounds": lambda: dist.Normal(leaf(), leaf()),
    "scaled at zero": lambda: transformed(EXPONENTIAL, affine(0.0, leaf())),
    "a power at zero": lambda: transformed(
        EXPONENTIAL, transforms.PowerTransform(leaf())
    ),
    "Weibull": lambda: dist.Weibull(leaf(), leaf()),
    "Kumaraswamy": lambda: dist.Kumaraswamy(leaf(), leaf()),
    "Gumbel": lambda: dist.Gumbel(leaf(), leaf()),
    "a squashed normal": lambda: transformed(
        dist.Normal(leaf(), 1.0), transforms.SigmoidTransform(), affine(0.0, leaf())
    ),
    "an infinite bound": lambda: dist.GeneralizedPareto(
        torch.tensor(0.0), leaf(), leaf(0.5)
    ),
    "Pareto's shape": lambda: dist.Pareto(torch.tensor(1.0), leaf()),
    "counts": lambda: dist.Binomial(torch.tensor(4.0), leaf(0.5)),
}


@pytest.mark.parametrize("name", MOVING)
def test_moving(name):
    assert support_moves(MOVING[name]())
    assert support_may_move(MOVING[name]())


@pytest.mark.parametrize("name", RESTING)
def test_resting(name):
    assert not support_moves(RESTING[name]())


@pytest.mark.parametrize("law", [dist.Normal(0.0, 1.0), dist.Binomial(4, 0.5)])
def test_what_can_never_move(law):
    assert not support_may_move(law)
    assert not support_may_move(dist.LogNormal(0.0, 1.0))


def test_the_graph_of_the_parameters_is_left_alone():
    scale = leaf()
    law = transformed(EXPONENTIAL, affine(0.0, scale * scale))
    assert not support_moves(law)
    (slope,) = torch.autograd.grad(law.log_prob(torch.tensor(2.0)), scale)
    assert slope != 0 and scale.grad is None
