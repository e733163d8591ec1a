"""The bound over particles against its definition, and what it tells each of them."""

import math

import pytest
import torch

from pgplugins.objectives.renyi import renyi_bound

ALPHAS = pytest.mark.parametrize("alpha", [0.0, 0.5, -1.0, 2.0])


def costs(particles=4, elements=3):
    torch.manual_seed(0)
    return torch.randn(particles, elements, dtype=torch.float64, requires_grad=True)


def defined(costs, alpha):
    weights = (-costs).exp()
    return -((weights ** (1 - alpha)).mean(0)).log() / (1 - alpha)


@ALPHAS
def test_the_loss_is_the_definition(alpha):
    c = costs()
    torch.testing.assert_close(renyi_bound(c, alpha).loss, defined(c, alpha))


@ALPHAS
def test_the_others_take_the_geometric_mean_for_the_own_weight(alpha):
    c = costs().detach()
    found = renyi_bound(c, alpha).others
    for k in range(4):
        without = torch.cat([c[:k], c[k + 1 :]])
        # A mean of costs is minus the log of a geometric mean of weights.
        replaced = torch.cat([without, without.mean(0, keepdim=True)])
        torch.testing.assert_close(found[k], defined(replaced, alpha))


@ALPHAS
def test_the_path_factor_adds_the_derivative_of_the_own_weight(alpha):
    # E[g s] = E[g' dC/dx dx/dtheta]: beside g itself the path carries dg_k/dC_k.
    c = costs()
    (slope,) = torch.autograd.grad(defined(c, alpha).sum(), c, create_graph=True)
    own = torch.stack(
        [
            torch.autograd.grad(slope[k].sum(), c, retain_graph=True)[0][k]
            for k in range(4)
        ]
    )
    found = renyi_bound(c, alpha).path_factor
    torch.testing.assert_close(found, (slope + own) / slope)


def test_one_particle_is_the_cost_itself():
    c = costs(particles=1)
    bound = renyi_bound(c, 0.5)
    torch.testing.assert_close(bound.loss, c[0])
    assert bound.others is None
    assert torch.equal(bound.path_factor, torch.ones_like(c))


def test_weights_that_differ_by_more_than_a_number_can_hold():
    c = torch.tensor([0.0, 2000.0], dtype=torch.float64)
    bound = renyi_bound(c, 0.0)
    assert bound.loss.item() == pytest.approx(math.log(2))
    assert bound.path_factor.tolist() == [1.0, 0.0]
    assert bound.others.tolist() == pytest.approx([2000.0, 0.0])
