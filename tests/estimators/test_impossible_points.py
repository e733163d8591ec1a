"""Points without any mass, as masked actions have: nothing is to become nan."""

import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg

NEVER = -torch.inf


def value_and_gradient(family, estimator):
    logits = torch.tensor(
        [[0.3, -1.0, NEVER], [0.5, NEVER, NEVER]], dtype=torch.float64
    ).requires_grad_()
    costs = torch.tensor([1.0, 3.0, -2.0], dtype=torch.float64)

    def cost(x):
        return (x * costs).sum(-1) if family is dist.OneHotCategorical else costs[x]

    law = family(logits=logits)
    loss = pg.expectation(cost, law, estimator=estimator, num_samples=5).sum()
    return loss, torch.autograd.grad(loss, logits)[0]


@pytest.mark.parametrize("family", [dist.Categorical, dist.OneHotCategorical])
@pytest.mark.parametrize("name", ["sum_and_sample", "unordered_set", "measure_valued"])
def test_two_possible_points_are_exact(family, name):
    loss, gradient = value_and_gradient(family, name)
    exact_loss, exact = value_and_gradient(family, "enumerate")
    torch.testing.assert_close(gradient, exact)
    assert loss.isfinite()
    if name != "measure_valued":  # its value is that of one draw
        torch.testing.assert_close(loss, exact_loss)


def test_one_category_has_no_gradient():
    logits = torch.tensor([0.7], requires_grad=True)
    law = dist.Categorical(logits=logits)
    loss = pg.expectation(lambda x: x + 3.0, law, estimator="measure_valued")
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.unique().item() == 3.0
    assert gradient.item() == 0.0
