"""REINFORCE on recorded rollouts: the gradient term alone.

The environment (Gymnasium's CartPole-v1) is not differentiable and draws in its own
way, so episodes are recorded first and ``pg.surrogate`` makes the gradient term of
them. It is zero in value, so it can be added to any other loss; here that is the
squared error of a critic, whose values are the baseline.

    python examples/recorded_rollouts.py --plot recorded_rollouts.png
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, fields, replace
from statistics import fmean
from typing import Any, NamedTuple

import gymnasium
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

import pgplugins as pg


def option(default: Any, text: str) -> Any:
    """A field of the settings, with its line in ``--help``."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """What can be set on the command line."""

    seed: int = option(0, "seed of every random number")
    updates: int = option(60, "updates of policy and critic")
    episodes: int = option(8, "episodes behind each update")
    discount: float = option(0.99, "weight of a reward one step later")
    rate: float = option(0.01, "learning rate of Adam")
    plot: str = option("", "write a picture to this file")
    tiny: bool = option(False, "finish within seconds")


class Episode(NamedTuple):
    """What was seen, done and earned, one entry per step."""

    observations: Tensor
    actions: Tensor
    rewards: Tensor


def record(env: Any, policy: nn.Module) -> Episode:
    """Run one episode."""
    observation, _ = env.reset()
    observations, actions, rewards = [], [], []
    ended = False
    while not ended:
        seen = torch.as_tensor(observation)
        with torch.no_grad():
            action = Categorical(logits=policy(seen)).sample()
        observation, reward, terminated, truncated, _ = env.step(action.item())
        ended = terminated or truncated
        observations.append(seen)
        actions.append(action)
        rewards.append(reward)
    return Episode(
        torch.stack(observations), torch.stack(actions), torch.tensor(rewards)
    )


def to_go(rewards: Tensor, discount: float) -> Tensor:
    """Discounted sum of what was earned from each step on."""
    total, sums = torch.zeros(()), []
    for reward in rewards.flip(0):
        total = reward + discount * total
        sums.append(total)
    return torch.stack(sums[::-1])


def loss_of(
    policy: nn.Module, critic: nn.Module, episodes: list[Episode], discount: float
) -> Tensor:
    """The policy's gradient term, and the critic's squared error."""
    observations = torch.cat([e.observations for e in episodes])
    actions = torch.cat([e.actions for e in episodes])
    # Lower is better: a cost is minus a reward. The scale is that of a full episode.
    costs = -torch.cat([to_go(e.rewards, discount) for e in episodes])
    costs = costs * (1 - discount)
    values = critic(observations).squeeze(-1)
    # The baseline's own gradient is stopped: the critic learns from its error alone.
    terms = pg.surrogate(
        Categorical(logits=policy(observations)), actions, costs, baseline=values
    )
    return (terms + (values - costs) ** 2).mean()


def train(settings: Settings) -> list[float]:
    """Return the mean length of the episodes behind each update."""
    torch.manual_seed(settings.seed)
    policy = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))
    critic = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(
        [*policy.parameters(), *critic.parameters()], lr=settings.rate
    )
    env = gymnasium.make("CartPole-v1")
    # Seeded once: resets without a seed go on with the environment's own stream.
    env.reset(seed=settings.seed)
    lengths = []
    for _ in range(settings.updates):
        episodes = [record(env, policy) for _ in range(settings.episodes)]
        optimizer.zero_grad()
        loss_of(policy, critic, episodes, settings.discount).backward()
        optimizer.step()
        lengths.append(fmean(len(e.rewards) for e in episodes))
    env.close()
    return lengths


def draw_picture(lengths: list[float], path: str) -> None:
    """Draw the learning curve."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    ax.plot(lengths)
    ax.set_xlabel("update")
    ax.set_ylabel("mean return of the update's episodes")
    figure.savefig(path, dpi=150)


def parse() -> Settings:
    """Read the settings from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for entry in fields(Settings):
        flag, text = f"--{entry.name.replace('_', '-')}", entry.metadata["help"]
        if isinstance(entry.default, bool):
            parser.add_argument(flag, action="store_true", help=text)
        else:
            kind = type(entry.default)
            parser.add_argument(flag, type=kind, default=entry.default, help=text)
    return Settings(**vars(parser.parse_args()))


def main() -> None:
    """Train, and print the learning curve in ten pieces."""
    settings = parse()
    if settings.tiny:
        settings = replace(settings, updates=20)
    torch.set_num_threads(1)
    lengths = train(settings)
    piece = max(1, len(lengths) // 10)
    for start in range(0, len(lengths), piece):
        part = lengths[start : start + piece]
        print(f"update {start + len(part):4d}: mean return {fmean(part):6.1f}")
    print("A random policy earns about 22; the most is 500.")
    if settings.plot:
        draw_picture(lengths, settings.plot)


if __name__ == "__main__":
    main()
