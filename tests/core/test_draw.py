"""A draw's log-density: at the held value, with the parameters' gradient."""

import pytest
import torch
from torch.distributions import (
    Independent,
    Normal,
    TransformedDistribution,
    transforms,
)

from pgplugins.core.draw import Draw
from tests.statistics import parameter


def test_the_gradient_of_the_log_density_is_the_score_of_an_attached_value():
    loc, scale = parameter(0.3), parameter(1.7)
    law = Normal(loc, scale)
    value = law.rsample((5,))
    draw = Draw(dist=law.expand((5,)), value=value.unsqueeze(0))
    got = torch.autograd.grad(draw.log_prob.sum(), [loc, scale])
    eps = (value.detach() - 0.3) / 1.7
    torch.testing.assert_close(got[0], (eps / 1.7).sum())
    torch.testing.assert_close(got[1], ((eps**2 - 1) / 1.7).sum())


def test_a_cached_transform_does_not_hand_its_path_back():
    loc = parameter(0.3)
    law = TransformedDistribution(
        Normal(loc, 0.8), [transforms.ExpTransform(cache_size=1)]
    )
    value = law.rsample()
    draw = Draw(dist=law, value=value.unsqueeze(0))
    (got,) = torch.autograd.grad(draw.log_prob.sum(), loc)
    assert got.item() == pytest.approx((value.log().item() - 0.3) / 0.8**2)


def test_the_log_density_is_computed_once():
    draw = Draw(dist=Normal(0.0, 1.0), value=torch.zeros(1))
    assert draw.log_prob is draw.log_prob


def test_rows_come_first_and_events_are_summed():
    law = Independent(Normal(torch.zeros(2, 3), 1.0), 1)
    draw = Draw(dist=law, value=torch.ones(4, 2, 3))
    assert draw.rows == 4
    want = 3 * (-0.5 - 0.5 * torch.log(torch.tensor(2 * torch.pi)))
    torch.testing.assert_close(draw.log_prob, want.expand(4, 2))


def test_a_score_term_meets_costs_with_rows_of_other_sites():
    loc = parameter(0.0, 1.0)
    draw = Draw(dist=Normal(loc, 1.0), value=torch.tensor([[2.0, 0.5]]))
    cost = torch.tensor([[[1.0, 2.0], [10.0, 20.0]]])  # (rows, other rows, batch)
    term = draw.score_term(cost)
    assert torch.equal(term, torch.zeros(1, 2, 2, dtype=term.dtype))
    (got,) = torch.autograd.grad(term.sum(), loc)
    want = torch.tensor([11.0 * 2.0, 22.0 * -0.5], dtype=torch.float64)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("first_order", [True, False])
@pytest.mark.parametrize("batch", [(), (4,)])
def test_scores_meet_their_own_rows_beside_those_of_other_sites(batch, first_order):
    torch.manual_seed(0)
    rows, others = 3, 3
    mu = torch.randn(batch, dtype=torch.float64, requires_grad=True)
    law = torch.distributions.Normal(mu, 2.0)
    draw = Draw(dist=law, value=torch.randn(rows, *batch, dtype=torch.float64))
    draw.first_order = first_order
    cost = torch.randn(rows, others, *batch, dtype=torch.float64)
    score = (draw.value - mu.detach()) / 4
    want = (cost * score.unsqueeze(1)).sum((0, 1))
    term = draw.score_term(cost)
    assert term.shape == cost.shape
    (got,) = torch.autograd.grad(term.sum(), mu, retain_graph=True)
    torch.testing.assert_close(got, want)
    summed = draw.summed_score_term(cost)
    assert summed.shape == cost.shape[1:]
    torch.testing.assert_close(torch.autograd.grad(summed.sum(), mu)[0], want)
