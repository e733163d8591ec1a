"""Importance ratios, their limits, and the clipped surrogate."""

import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from pgplugins import rl
from tests.statistics import parameter


def test_products_start_anew_after_each_episode_and_skip_masked_steps():
    log = torch.tensor([[2.0, 3.0], [5.0, 7.0], [11.0, 13.0], [17.0, 19.0]]).log()
    ended = torch.tensor([[1, 0], [0, 1], [0, 0], [0, 0]]).bool()
    found = rl.Ratios(log).so_far(terminated=ended, mask=~rl.reset_steps(ended))
    want = torch.tensor([[2.0, 3.0], [1.0, 21.0], [11.0, 1.0], [187.0, 19.0]])
    torch.testing.assert_close(found.value, want)


def test_masked_steps_may_hold_anything():
    logits = parameter(0.3, -0.2)
    law = dist.Categorical(logits=logits)
    actions = torch.tensor([[0, 1], [-7, 1]])  # padding outside of the support
    mask = torch.tensor([[True, True], [False, True]])
    old = torch.tensor([[-1.0, -2.0], [torch.nan, -0.5]]).double()
    ratios = rl.importance_ratios(law, actions, old, mask=mask)
    want = (law.log_prob(actions.clamp(0)) - old.nan_to_num()).exp()
    want = want.where(mask, 1.0)
    torch.testing.assert_close(ratios.value, want)
    (found,) = torch.autograd.grad(ratios.value.sum(), logits, retain_graph=True)
    (exact,) = torch.autograd.grad(want[mask].sum(), logits)
    torch.testing.assert_close(found, exact)


def test_ratios_of_events():
    mu = parameter(0.2, -0.4)
    law = dist.Normal(mu, 1.0).to_event(1)
    actions = torch.randn(5, 3, 2).double()
    ratios = rl.importance_ratios(law, actions, torch.zeros(5, 3).double())
    torch.testing.assert_close(ratios.value, law.log_prob(actions).exp())


def test_at_the_recording_policy_the_clipped_gradient_is_the_score_gradient():
    logits = parameter(0.3, -0.2, 0.8)
    law = dist.Categorical(logits=logits)
    actions = torch.tensor([[0, 2], [1, 1]])
    cost = torch.tensor([[1.0, -2.0], [0.5, torch.nan]]).double()
    mask = torch.tensor([[True, True], [True, False]])
    ratios = rl.importance_ratios(law, actions, law.log_prob(actions))
    clipped = rl.clipped_surrogate(ratios, cost, mask=mask)
    assert clipped.clipped == 0 and not clipped.unbiased
    (found,) = torch.autograd.grad(clipped.loss.sum(), logits, retain_graph=True)
    terms = pg.surrogate(law, actions, cost, mask=mask)
    (want,) = torch.autograd.grad(terms.sum(), logits)
    torch.testing.assert_close(found, want)


@pytest.mark.parametrize(
    ("ratio", "cost", "slope"),
    [
        (1.1, 1.0, 1.0),
        (0.7, 1.0, 0.0),  # unlikelier already, and dear: enough
        (1.3, 1.0, 1.0),  # likelier although dear: back
        (1.3, -1.0, 0.0),
        (0.7, -1.0, -1.0),
    ],
)
def test_a_clipped_step_has_no_gradient(ratio, cost, slope):
    log = torch.tensor([ratio], dtype=torch.float64).log().requires_grad_()
    clipped = rl.clipped_surrogate(
        rl.Ratios(log), torch.tensor([cost]).double(), clip=0.2
    )
    (found,) = torch.autograd.grad(clipped.loss.sum(), log)
    torch.testing.assert_close(found, torch.tensor([slope * ratio]).double())
    assert clipped.clipped == (slope == 0)


def test_a_limit_bounds_the_ratios_and_takes_their_gradient():
    log = torch.tensor([0.5, 3.0]).double().log().requires_grad_()
    limited = rl.Ratios(log).at_most(2.0)
    torch.testing.assert_close(limited.value, torch.tensor([0.5, 2.0]).double())
    (found,) = torch.autograd.grad(limited.value.sum(), log)
    assert found[1] == 0 and found[0] > 0


LAW = dist.Categorical(logits=torch.zeros(3))
ACTIONS, OLD = torch.zeros(4, 2).long(), torch.zeros(4, 2)
R = rl.importance_ratios
REFUSED = {
    "too few densities": (lambda: R(LAW, ACTIONS, OLD[0]), ["(4, 2)", "(2,)"]),
    "events that differ": (
        lambda: R(dist.Normal(torch.zeros(3), 1.0).to_event(1), ACTIONS + 0.5, OLD),
        ["events", "(3,)"],
    ),
    "a policy of another batch": (
        lambda: R(dist.Normal(torch.zeros(5, 4, 2), 1.0), OLD, OLD),
        ["(5, 4, 2)", "broadcast"],
    ),
    "nan": (lambda: R(LAW, ACTIONS, OLD * torch.nan), ["recorded log-density", "nan"]),
    "no distribution": (lambda: R(OLD, ACTIONS, OLD), ["dist", "Tensor"]),
    "no tensor": (lambda: R(LAW, [0], OLD), ["value", "list"]),
    "an empty mask": (
        lambda: R(LAW, ACTIONS, OLD, mask=OLD.bool()),
        ["mask", "no step"],
    ),
    "a limit of zero": (lambda: rl.Ratios(OLD).at_most(0), ["limit=0"]),
    "a clip of one": (
        lambda: rl.clipped_surrogate(rl.Ratios(OLD), OLD, clip=1.0),
        ["clip=1.0"],
    ),
    "a cost of another shape": (
        lambda: rl.clipped_surrogate(rl.Ratios(OLD), OLD[0]),
        ["(4, 2)", "(2,)"],
    ),
    "a cost that is nan": (
        lambda: rl.clipped_surrogate(rl.Ratios(OLD), OLD * torch.nan),
        ["cost", "nan"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_words(name):
    call, words = REFUSED[name]
    with pytest.raises(pg.PgpluginsError) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)
