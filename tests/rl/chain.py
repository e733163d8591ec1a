"""A small Markov decision process, and all trajectories through it."""

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

STATES, ACTIONS, DISCOUNT = 3, 2, 0.8

_own = torch.Generator().manual_seed(0)


def _random(*shape):
    return torch.rand(*shape, generator=_own, dtype=torch.float64)


START = _random(STATES).softmax(-1)
MOVE = (3 * _random(STATES, ACTIONS, STATES)).softmax(-1)  # to the next state
OVER = 0.6 * _random(STATES, ACTIONS)  # chance that the step terminates
REWARD = 4 * _random(STATES, ACTIONS) - 2


def values(logits):
    """V = (I - gamma P_pi)^-1 r_pi."""
    policy = logits.softmax(-1)
    return torch.linalg.solve(
        torch.eye(STATES, dtype=torch.float64) - DISCOUNT * transitions(policy),
        (policy * REWARD).sum(-1),
    )


def transitions(policy):
    """From state to state, less what terminates."""
    return (policy.unsqueeze(-1) * (1 - OVER).unsqueeze(-1) * MOVE).sum(1)


def finite_gradient(logits, horizon):
    """The exact gradient of the expected discounted reward of ``horizon`` steps."""
    leaf = logits.detach().clone().requires_grad_()
    policy = leaf.softmax(-1)
    ahead = torch.zeros(STATES, dtype=torch.float64)
    for _ in range(horizon):
        ahead = (policy * REWARD).sum(-1) + DISCOUNT * transitions(policy) @ ahead
    (gradient,) = torch.autograd.grad((START * ahead).sum(), leaf)
    return gradient


def infinite_gradient(logits):
    """dJ/dtheta_sa = d_s pi(a | s) A(s, a), with d = (I - gamma P_pi')^-1 rho."""
    policy, v = logits.softmax(-1), values(logits)
    matrix = torch.eye(STATES, dtype=torch.float64) - DISCOUNT * transitions(policy).T
    visits = torch.linalg.solve(matrix, START)
    q = REWARD + DISCOUNT * (1 - OVER) * (MOVE @ v)
    return visits.unsqueeze(-1) * policy * (q - v.unsqueeze(-1))


class Recording(NamedTuple):
    """Every trajectory, time first, with its probability."""

    states: Tensor
    actions: Tensor
    following: Tensor
    terminated: Tensor
    mask: Tensor
    probability: Tensor

    @property
    def rewards(self):
        """Rewards, nan where no episode runs."""
        return REWARD[self.states, self.actions].where(self.mask, torch.nan)


def all_trajectories(logits, horizon):
    """Enumerate the trajectories of ``horizon`` steps of a softmax policy."""
    policy = logits.detach().softmax(-1)
    found = [([], [], [], [], [], START[s], s) for s in range(STATES)]
    for _ in range(horizon):
        found = [longer for entry in found for longer in _grown(entry, policy)]
    columns = [torch.tensor([entry[i] for entry in found]).T for i in range(5)]
    return Recording(*columns, torch.stack([entry[5] for entry in found]))


def _grown(entry, policy):
    """All ways in which a trajectory can take one more step."""
    *columns, p, s = entry
    _, _, _, over, mask = columns
    if mask and (over[-1] or not mask[-1]):
        step = (0, 0, 0, False, False)
        yield (*_with(columns, step), p, 0)
        return
    for a, done, to in itertools.product(range(ACTIONS), (False, True), range(STATES)):
        if done and to:
            continue  # where a terminated episode would be does not matter
        chance = OVER[s, a] if done else (1 - OVER[s, a]) * MOVE[s, a, to]
        step = (s, a, to, done, True)
        yield (*_with(columns, step), p * policy[s, a] * chance, to)


def _with(columns, step):
    return [[*column, part] for column, part in zip(columns, step, strict=True)]
