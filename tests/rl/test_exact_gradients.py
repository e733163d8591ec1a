"""Recorded rollouts reach exact policy gradients: the mean over all trajectories."""

import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from pgplugins import rl
from tests.infer import test_lqr as lqr
from tests.rl import chain
from tests.rl.chain import DISCOUNT
from tests.statistics import assert_mean, gradients, parameter

LOGITS = torch.tensor([[0.3, -0.2], [0.9, 0.1], [-0.5, 0.4]], dtype=torch.float64)
HORIZON = 3


def mean_gradient(logits, recorded, cost, **options):
    """Gradient of the mean of the term over all trajectories."""
    policy = dist.Categorical(logits=logits[recorded.states])
    terms = pg.surrogate(policy, recorded.actions, cost, mask=recorded.mask, **options)
    assert not terms.any()
    loss = (terms.sum(0) * recorded.probability).sum()
    return torch.autograd.grad(loss, logits)[0]


def weights(recorded):
    return rl.discounts(
        recorded.rewards,
        discount=DISCOUNT,
        terminated=recorded.terminated,
        mask=recorded.mask,
    )


def to_go(recorded, rewards=None, **options):
    return rl.returns(
        recorded.rewards if rewards is None else rewards,
        discount=DISCOUNT,
        terminated=recorded.terminated,
        mask=recorded.mask,
        **options,
    )


def test_the_trajectories_are_all_there_are():
    recorded = chain.all_trajectories(LOGITS, HORIZON)
    assert recorded.probability.sum().item() == pytest.approx(1)
    assert not recorded.mask.all() and recorded.rewards.isnan().any()


@pytest.mark.parametrize("baseline", [False, True])
def test_discounted_returns(baseline):
    logits = LOGITS.clone().requires_grad_()
    recorded = chain.all_trajectories(logits, HORIZON)
    weight = weights(recorded)
    # Any function of the state is a baseline.
    guess = torch.tensor([0.3, -2.0, 5.0]).double()[recorded.states]
    options = {"baseline": weight * guess} if baseline else {}
    found = mean_gradient(logits, recorded, weight * to_go(recorded), **options)
    torch.testing.assert_close(found, chain.finite_gradient(LOGITS, HORIZON))


def test_without_the_weights_late_steps_count_too_much():
    logits = LOGITS.clone().requires_grad_()
    recorded = chain.all_trajectories(logits, HORIZON)
    found = mean_gradient(logits, recorded, to_go(recorded))
    exact = chain.finite_gradient(LOGITS, HORIZON)
    assert (found - exact).norm() > 0.1 * exact.norm()


@pytest.mark.parametrize("decay", [0.0, 0.7, 1.0])
def test_advantages_with_exact_values(decay):
    """The infinite-horizon gradient, step by step: what lies beyond is in V."""
    logits = LOGITS.clone().requires_grad_()
    recorded = chain.all_trajectories(logits, HORIZON)
    v = chain.values(LOGITS)
    advantages = rl.gae(
        recorded.rewards,
        v[recorded.states],
        v[recorded.following],
        discount=DISCOUNT,
        decay=decay,
        terminated=recorded.terminated,
        mask=recorded.mask,
    )
    found = mean_gradient(logits, recorded, weights(recorded) * advantages)
    # The states of the first three steps, instead of all.
    policy, start, want = LOGITS.softmax(-1), chain.START, 0.0
    for t in range(HORIZON):
        visits = DISCOUNT**t * start
        want = want + visits.unsqueeze(-1) * policy * advantage(v)
        start = start @ chain.transitions(policy)
    torch.testing.assert_close(found, want)


def advantage(v):
    return (
        chain.REWARD
        + chain.DISCOUNT * (1 - chain.OVER) * (chain.MOVE @ v)
        - v.unsqueeze(-1)
    )


def test_advantages_at_all_states_give_the_closed_form():
    """d_s pi(a | s) A(s, a): one recorded step from the discounted visits."""
    logits = LOGITS.clone().requires_grad_()
    policy, v = LOGITS.softmax(-1), chain.values(LOGITS)
    identity = torch.eye(chain.STATES, dtype=torch.float64)
    visits = torch.linalg.solve(
        identity - DISCOUNT * chain.transitions(policy).T, chain.START
    )
    one = chain.all_trajectories(logits, 1)
    probability = one.probability * (visits / chain.START)[one.states[0]]
    advantages = rl.gae(
        one.rewards,
        v[one.states],
        v[one.following],
        discount=DISCOUNT,
        decay=0.5,
        terminated=one.terminated,
    )
    found = mean_gradient(logits, one._replace(probability=probability), advantages)
    torch.testing.assert_close(found, chain.infinite_gradient(LOGITS))


OTHER = torch.tensor([[-0.6, 0.2], [0.0, 0.5], [0.3, -0.1]], dtype=torch.float64)


def off_policy(logits):
    """Trajectories of another policy, and ratios against it."""
    recorded = chain.all_trajectories(OTHER, HORIZON)
    old = dist.Categorical(logits=OTHER[recorded.states])
    new = dist.Categorical(logits=logits[recorded.states])
    behaviour = old.log_prob(recorded.actions).where(recorded.mask, torch.nan)
    ratios = rl.importance_ratios(new, recorded.actions, behaviour, mask=recorded.mask)
    return recorded, ratios


def test_off_policy_gradients_are_exact():
    logits = LOGITS.clone().requires_grad_()
    recorded, ratios = off_policy(logits)
    so_far = ratios.so_far(terminated=recorded.terminated, mask=recorded.mask)
    assert so_far.unbiased
    weighed = so_far.value * recorded.rewards
    cost = weights(recorded) * to_go(recorded, weighed)
    found = mean_gradient(logits, recorded, cost)
    torch.testing.assert_close(found, chain.finite_gradient(LOGITS, HORIZON))


def test_the_weighed_rewards_themselves_have_value_and_gradient():
    """E_b[sum_t gamma^t rho_{0:t} r_t] is the new policy's value."""
    logits = LOGITS.clone().requires_grad_()
    recorded, ratios = off_policy(logits)
    so_far = ratios.so_far(terminated=recorded.terminated, mask=recorded.mask)
    earned = (weights(recorded) * so_far.value * recorded.rewards).where(
        recorded.mask, 0.0
    )
    found = torch.autograd.grad((earned.sum(0) * recorded.probability).sum(), logits)[0]
    torch.testing.assert_close(found, chain.finite_gradient(LOGITS, HORIZON))


def test_limited_ratios_say_that_they_are_biased():
    logits = LOGITS.clone().requires_grad_()
    recorded, ratios = off_policy(logits)
    limited = ratios.so_far(terminated=recorded.terminated, mask=recorded.mask).at_most(
        1.1
    )
    assert not limited.unbiased
    assert not limited.so_far().unbiased
    assert limited.value.max().item() == pytest.approx(1.1)
    cost = weights(recorded) * to_go(recorded, limited.value * recorded.rewards)
    found = mean_gradient(logits, recorded, cost)
    exact = chain.finite_gradient(LOGITS, HORIZON)
    assert (found - exact).norm() > 0.05 * exact.norm()


def test_the_softmax_bandit():
    """grad_i = pi_i (r_i - J), on its own arms and on those of a uniform policy."""
    logits = parameter(0.4, -0.3, 1.1)
    rewards, arms = parameter(1.0, -2.0, 0.5).detach(), torch.arange(3)
    policy = logits.detach().softmax(-1)
    exact = policy * (rewards - (policy * rewards).sum())
    law = dist.Categorical(logits=logits)

    terms = pg.surrogate(law, arms, rewards, baseline=torch.tensor(0.7).double())
    (found,) = torch.autograd.grad((terms * policy).sum(), logits, retain_graph=True)
    torch.testing.assert_close(found, exact)

    uniform = torch.full((3,), 1 / 3, dtype=torch.float64)
    ratios = rl.importance_ratios(law, arms, uniform.log())
    terms = pg.surrogate(law, arms, ratios.value * rewards)
    (found,) = torch.autograd.grad((terms * uniform).sum(), logits, retain_graph=True)
    torch.testing.assert_close(found, exact)
    value = (uniform * ratios.value * rewards).sum()
    (found,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(found, exact)


def test_the_regulator():
    """Recorded rollouts in groups that start alike, off by less than a tenth."""
    k = lqr.K0.clone().requires_grad_()
    log_s = torch.tensor(lqr.SIGMA).double().log().requires_grad_()
    starts, members = 128, 8
    groups = torch.arange(starts).repeat(members)

    def loss():
        law = dist.MultivariateNormal(torch.zeros(2).double(), lqr.S0)
        x = law.sample((starts,)).repeat(members, 1)
        states, actions, costs = [], [], []
        for _ in range(lqr.T):
            u = dist.Normal(-(x @ lqr.K0.T), lqr.SIGMA).sample()
            states.append(x)
            actions.append(u)
            costs.append((x @ lqr.Q * x).sum(-1) + (u @ lqr.R * u).sum(-1))
            noise = torch.randn_like(x) * lqr.W.diagonal().sqrt()
            x = x @ lqr.A.T + u @ lqr.B.T + noise
        costs[-1] = costs[-1] + (x @ lqr.QF * x).sum(-1)
        cost = rl.returns(torch.stack(costs), discount=1.0)
        policy = dist.Normal(-(torch.stack(states) @ k.T), log_s.exp()).to_event(1)
        terms = pg.surrogate(
            policy,
            torch.stack(actions),
            cost,
            baseline=rl.leave_one_out(cost, groups),
        )
        return terms.sum(0).mean()

    assert_mean(gradients(loss, [k, log_s], 400), lqr.exact())
