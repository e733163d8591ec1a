"""REINFORCE on Gymnasium's CartPole-v1, in a vectorised environment."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from pgplugins.core.algebra import leave_one_out_mean
from pgplugins.recorded import surrogate

ENVIRONMENT = "CartPole-v1"
SOLVED = 475.0
"""Mean return of the last hundred episodes at which Gymnasium calls the task solved."""

EPISODES = 32
HORIZON = 500
DISCOUNT = 0.99
LEARNING_RATE = 0.02
STEP_LIMIT = 600_000


@dataclass
class Training:
    """A learning curve.

    Args:
        estimator: What the gradient was estimated with.
        env_steps: Environment steps so far, one entry per update.
        mean_return: Mean return of the episodes behind that update.
        recent_return: Mean return of the last hundred episodes.
        solved: Whether that reached 475.
        seconds: Wall-clock seconds of the whole training.
    """

    objective: str = ENVIRONMENT
    estimator: str = "score_function"
    env_steps: list[int] = field(default_factory=list)
    mean_return: list[float] = field(default_factory=list)
    recent_return: float = 0.0
    solved: bool = False
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The curve as JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class _Episodes:
    """Recorded rollouts, time first; ``live`` is 1 until the episode's end."""

    observations: Tensor
    actions: Tensor
    live: Tensor

    @property
    def returns(self) -> Tensor:
        """Discounted reward to go: one for every step survived, shape of ``live``."""
        to_go = torch.zeros_like(self.live)
        ahead = torch.zeros_like(self.live[0])
        for t in reversed(range(len(self.live))):
            ahead = self.live[t] * (1 + DISCOUNT * ahead)
            to_go[t] = ahead
        return to_go


def train(seed: int) -> Training:
    """Train a small policy until it is solved or out of steps.

    Args:
        seed: Fixes the policy's start, its actions and the environment.

    Returns:
        The learning curve.
    """
    import gymnasium

    start = time.perf_counter()
    curve = Training()
    recent: deque[float] = deque(maxlen=100)
    env = gymnasium.make_vec(
        ENVIRONMENT, num_envs=EPISODES, vectorization_mode="vector_entry_point"
    )
    # Seeded once: resets without a seed go on with the environment's own stream.
    env.reset(seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        policy = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2)).float()
        optimizer = torch.optim.Adam(policy.parameters(), lr=LEARNING_RATE)
        steps = 0
        while not curve.solved and steps < STEP_LIMIT:
            episodes = _roll_out(env, policy)
            _improve(policy, optimizer, episodes)
            lengths = episodes.live.sum(0).tolist()
            steps += int(sum(lengths))
            recent.extend(lengths)
            curve.env_steps.append(steps)
            curve.mean_return.append(fmean(lengths))
            curve.recent_return = fmean(recent)
            full = len(recent) == recent.maxlen
            curve.solved = full and curve.recent_return >= SOLVED
    env.close()
    curve.seconds = time.perf_counter() - start
    return curve


def _roll_out(env: Any, policy: nn.Module) -> _Episodes:
    """Run one episode in each environment, all at once."""
    observation, _ = env.reset()
    live = torch.ones(EPISODES, dtype=torch.bool)
    recorded: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
    with torch.no_grad():
        while live.any() and len(recorded[0]) < HORIZON:
            seen = torch.as_tensor(observation, dtype=torch.float32)
            action = Categorical(logits=policy(seen), validate_args=False).sample()
            entries = (seen, action, live.float())
            for column, entry in zip(recorded, entries, strict=True):
                column.append(entry)
            observation, _, terminated, truncated, _ = env.step(action.numpy())
            # A finished environment starts anew by itself; what it does then is not
            # part of the episode.
            live = live & ~torch.as_tensor(terminated | truncated)
    return _Episodes(*(torch.stack(column) for column in recorded))


def _improve(
    policy: nn.Module, optimizer: torch.optim.Optimizer, episodes: _Episodes
) -> None:
    """Take one step along the policy gradient."""
    cost = -episodes.returns
    # The other episodes at the same time: independent of this episode's actions.
    baseline = leave_one_out_mean(cost, dim=1)
    # One scale for the whole batch changes the step's length, not its direction.
    scale = (cost - baseline)[episodes.live > 0].std() + 1e-6
    terms = surrogate(
        Categorical(logits=policy(episodes.observations)),
        episodes.actions,
        cost / scale,
        estimator="score_function",
        baseline=baseline / scale,
    )
    optimizer.zero_grad()
    ((terms * episodes.live).sum() / episodes.live.sum()).backward()
    optimizer.step()
