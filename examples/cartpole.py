"""REINFORCE on Gymnasium's CartPole-v1, until it is solved.

The environment is not torch: it is run side by side in a vectorised environment, what
was seen and done is recorded, and ``pg.surrogate`` makes the gradient term of it. The
baseline is the mean reward-to-go of the other episodes at the same time. CartPole-v1
counts as solved when the last hundred episodes return 475 on average.

    python examples/cartpole.py --plot cartpole.png
"""

from __future__ import annotations

import argparse
from collections import deque
from dataclasses import dataclass, field, fields, replace
from statistics import fmean
from typing import Any, NamedTuple

import gymnasium
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.distributions import Categorical

import pgplugins as pg

SOLVED, HUNDRED = 475.0, 100


def option(default: Any, text: str) -> Any:
    """A field of the settings, with its line in ``--help``."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """What can be set on the command line."""

    seed: int = option(0, "seed of every random number")
    episodes: int = option(32, "episodes behind each update, side by side")
    discount: float = option(0.99, "weight of a reward one step later")
    rate: float = option(0.02, "learning rate of Adam")
    step_limit: int = option(600_000, "environment steps after which to give up")
    plot: str = option("", "write a picture to this file")
    tiny: bool = option(False, "finish within seconds")


class Episodes(NamedTuple):
    """What was seen and done in a batch of episodes, all of shape (episode, time)."""

    observations: Tensor
    """Shape (episode, time, 4)."""
    actions: Tensor
    rewards: Tensor
    live: Tensor
    """True up to the episode's last step; what comes later is not part of it."""


def record(env: Any, policy: nn.Module) -> Episodes:
    """Run one episode in every environment."""
    observation, _ = env.reset()
    live = torch.ones(env.num_envs, dtype=torch.bool)
    columns: list[tuple[Tensor, ...]] = []
    while live.any():
        seen = torch.as_tensor(observation, dtype=torch.float32)
        with torch.no_grad():
            action = Categorical(logits=policy(seen)).sample()
        observation, reward, terminated, truncated, _ = env.step(action.numpy())
        earned = torch.as_tensor(reward, dtype=torch.float32)
        columns.append((seen, action, torch.where(live, earned, 0.0), live))
        # A vectorised environment goes on by itself after an episode's end: Gymnasium's
        # default spends the next step on the reset and ignores that step's action.
        # Neither that step nor the episode that it begins belongs to the batch.
        live = live & ~torch.as_tensor(terminated | truncated)
    return Episodes(*(torch.stack(c, 1) for c in zip(*columns, strict=True)))


def to_go(rewards: Tensor, discount: float) -> Tensor:
    """Discounted sum of what was earned from each step on, over the last dimension."""
    total, sums = torch.zeros_like(rewards[..., 0]), []
    for reward in rewards.unbind(-1)[::-1]:
        total = reward + discount * total
        sums.append(total)
    return torch.stack(sums[::-1], -1)


def loss_of(policy: nn.Module, episodes: Episodes, discount: float) -> Tensor:
    """The policy's gradient term: zero in value, averaged over the episodes."""
    terms = pg.surrogate(
        Categorical(logits=policy(episodes.observations)),
        episodes.actions,
        # Lower is better: a cost is minus a reward.
        -to_go(episodes.rewards, discount),
        # Across the first dimension, the episodes, which know nothing of one another.
        baseline="leave_one_out",
    )
    return (terms * episodes.live).sum(1).mean()


@dataclass
class Curve:
    """A learning curve, one entry per update."""

    steps: list[int] = field(default_factory=list)
    """Environment steps so far."""
    returns: list[float] = field(default_factory=list)
    """Mean return of the update's episodes."""
    recent: list[float] = field(default_factory=list)
    """Mean return of the last hundred episodes, or of all if there are fewer."""
    solved: bool = False


def train(settings: Settings) -> Curve:
    """Train until the task is solved or the steps are spent."""
    torch.manual_seed(settings.seed)
    policy = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(policy.parameters(), lr=settings.rate)
    env = gymnasium.make_vec("CartPole-v1", num_envs=settings.episodes)
    # Seeded once: resets without a seed go on with the environments' own streams.
    env.reset(seed=settings.seed)
    curve, last, steps = Curve(), deque[float](maxlen=HUNDRED), 0
    console = Console(stderr=True)
    with Progress(
        console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("environment steps", total=settings.step_limit)
        while not curve.solved and steps < settings.step_limit:
            episodes = record(env, policy)
            optimizer.zero_grad()
            loss_of(policy, episodes, settings.discount).backward()
            optimizer.step()
            returns = episodes.rewards.sum(1).tolist()
            taken = int(episodes.live.sum())
            steps += taken
            last.extend(returns)
            curve.steps.append(steps)
            curve.returns.append(fmean(returns))
            curve.recent.append(fmean(last))
            curve.solved = len(last) == HUNDRED and curve.recent[-1] >= SOLVED
            bar.update(
                task,
                advance=taken,
                description=f"mean of the last {HUNDRED} {curve.recent[-1]:5.1f}",
            )
    env.close()
    return curve


def draw_picture(curve: Curve, path: str) -> None:
    """Draw the learning curve."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    ax.plot(curve.steps, curve.returns, alpha=0.4, label="an update's episodes")
    ax.plot(curve.steps, curve.recent, label=f"the last {HUNDRED} episodes")
    ax.axhline(SOLVED, linestyle=":", color="grey", label="solved")
    ax.set_xlabel("environment steps")
    ax.set_ylabel("mean return")
    ax.legend()
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
    """Train, and print the learning curve in about ten pieces."""
    settings = parse()
    if settings.tiny:
        settings = replace(settings, step_limit=30_000)
    torch.set_num_threads(1)
    curve = train(settings)
    print("A random policy returns about 22; the most is 500.")
    for i in range(0, len(curve.steps), max(1, len(curve.steps) // 10)):
        print(f"after {curve.steps[i]:7d} steps: mean return {curve.returns[i]:6.1f}")
    reached = (
        f"{curve.recent[-1]:.1f} over the last {HUNDRED} episodes, "
        f"{curve.steps[-1]} environment steps, {len(curve.steps)} updates"
    )
    print(f"solved: {reached}" if curve.solved else f"gave up below 475: {reached}")
    if settings.plot:
        draw_picture(curve, settings.plot)
        print(f"picture: {settings.plot}")


if __name__ == "__main__":
    main()
