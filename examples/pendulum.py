"""Swing up a pendulum: which policy gradient gets there, and over how many steps.

The dynamics of Gymnasium's Pendulum-v1 are written in torch, so costs have gradients
and every estimator can be used. Score function, pathwise gradient and hybrid train the
same policy at the same number of environment steps, through pieces of 50 steps, at
whose ends the costs to come are cut off; the two pure ones also through whole episodes
of 200. The policies are then evaluated in Gymnasium itself.

A path through 200 steps of a swinging pendulum multiplies 200 Jacobians, and its
gradient explodes. The score function has no such trouble, but the noise of 200 actions.
Over 50 steps the path is harmless and precise, for reparameterized and hybrid alike.
Seeds differ a lot in when the swing-up is found: look at several.

    python examples/pendulum.py --plot pendulum.png
    python examples/pendulum.py --piece 200  # hybrid through whole episodes, too
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field, fields, replace
from statistics import median
from typing import Any

import gymnasium
import pyro
import pyro.distributions as dist
import torch
from rich.console import Console
from rich.progress import Progress, TaskID
from torch import Tensor, nn

import pgplugins as pg

PURE = ("score_function", "reparameterized")
ESTIMATORS = (*PURE, "hybrid")
STEPS = 200
"""Length of an episode of Pendulum-v1."""


def option(default: Any, text: str) -> Any:
    """A field of the settings, with its line in ``--help``."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """What can be set on the command line."""

    seed: int = option(0, "seed of every random number")
    updates: int = option(150, "updates of the policy")
    rollouts: int = option(64, "episodes' worth of steps behind each update")
    piece: int = option(50, "length of a piece; divides 200")
    rate: float = option(0.01, "learning rate of Adam")
    episodes: int = option(100, "episodes that a policy is evaluated in")
    plot: str = option("", "write a picture to this file")
    tiny: bool = option(False, "finish within seconds")


def step(angle: Tensor, speed: Tensor, torque: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One step of Pendulum-v1, any number side by side.

    Args:
        angle: In radians, zero when upright.
        speed: In radians per second.
        torque: Before it is clipped to [-2, 2].

    Returns:
        The next angle and speed, and the cost: minus Gymnasium's reward.
    """
    torque = torque.clamp(-2, 2)
    off = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
    cost = off**2 + 0.1 * speed**2 + 0.001 * torque**2
    # Gravity 10, mass and length 1, 0.05 seconds.
    speed = (speed + (15 * angle.sin() + 3 * torque) * 0.05).clamp(-8, 8)
    return angle + speed * 0.05, speed, cost


class Policy(nn.Module):
    """Normal torques; the mean is a network's, the scale is the same everywhere."""

    def __init__(self, hidden: int = 64) -> None:
        """Start at random, with standard deviation one."""
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(3, hidden),
            nn.Tanh(),
            nn.Linear(hidden, hidden),
            nn.Tanh(),
            nn.Linear(hidden, 1),
        )
        # No torque is better than another yet: a mean near 2 or -2 has little gradient.
        nn.init.zeros_(self.network[-1].weight)
        nn.init.zeros_(self.network[-1].bias)
        self.log_scale = nn.Parameter(torch.tensor(0.0))

    def mean(self, angle: Tensor, speed: Tensor) -> Tensor:
        """Mean torque, within [-2, 2]."""
        seen = torch.stack([angle.cos(), angle.sin(), speed / 8], -1)
        mean: Tensor = 2 * torch.tanh(self.network(seen).squeeze(-1))
        return mean

    def forward(self, angle: Tensor, speed: Tensor) -> dist.Normal:
        """The law of the torque."""
        return dist.Normal(self.mean(angle, speed), self.log_scale.exp())


class Pieces:
    """A Pyro program that goes on from where its last run has stopped.

    Each particle is one roll-out. Together they are as many environment steps as
    ``rollouts`` whole episodes: shorter pieces run more of them side by side, which
    begin at different times.
    """

    def __init__(self, policy: Policy, rollouts: int, steps: int) -> None:
        """Start with episodes that Gymnasium might have begun."""
        self.policy, self.steps = policy, steps
        in_an_episode = STEPS // steps
        self.particles = rollouts * in_an_episode
        self.clock = steps * (torch.arange(self.particles) % in_an_episode)
        self.angle, self.speed = self.begin()

    def begin(self) -> tuple[Tensor, Tensor]:
        """Begin episodes as Gymnasium does: any angle, speeds up to one."""
        angle, speed = 2 * torch.rand(2, self.particles) - 1
        return math.pi * angle, speed

    def __call__(self) -> None:
        """Run one piece."""
        angle, speed = self.angle, self.speed
        for t in range(self.steps):
            torque = pyro.sample(f"torque_{t}", self.policy(angle, speed))
            angle, speed, cost = step(angle, speed, torque)
            pg.cost(f"cost_{t}", cost)
        self.clock = self.clock + self.steps
        ended, new = self.clock >= STEPS, self.begin()
        # The next run has no path back into this one.
        self.angle = torch.where(ended, new[0], angle.detach())
        self.speed = torch.where(ended, new[1], speed.detach())
        self.clock = self.clock % STEPS


@dataclass
class Training:
    """What one estimator has done, one entry per update."""

    policy: Policy
    returns: list[float] = field(default_factory=list)
    """Minus 200 times the mean cost of a step, with noise on the torques."""
    norms: list[float] = field(default_factory=list)
    """Norm of the gradient of the cost per step, before it is clipped."""


def train(
    estimator: str, steps: int, settings: Settings, bar: Progress, task: TaskID
) -> Training:
    """Train a policy through pieces of so many steps."""
    pyro.set_rng_seed(settings.seed)
    policy = Policy()
    optimizer = torch.optim.Adam(policy.parameters(), lr=settings.rate)
    program, training = Pieces(policy, settings.rollouts, steps), Training(policy)
    objective = pg.ExpectedCost(
        estimators=estimator,
        num_particles=program.particles,
        max_plate_nesting=0,
        # Which torque has an effect on which cost is the same at every run.
        static=True,
    )
    for _ in range(settings.updates):
        optimizer.zero_grad()
        cost_per_step = objective(program) / steps
        cost_per_step.backward()
        norm = nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        training.returns.append(-STEPS * cost_per_step.item())
        training.norms.append(norm.item())
        bar.advance(task)
    return training


def evaluate(policy: Policy, episodes: int, seed: int) -> float:
    """Mean return of the policy's mean torques in Gymnasium's Pendulum-v1."""
    env = gymnasium.make_vec("Pendulum-v1", num_envs=episodes)
    observation, _ = env.reset(seed=seed)
    total = torch.zeros(episodes, dtype=torch.float64)
    # All episodes end together, at the time limit.
    for _ in range(STEPS):
        cos, sin, speed = torch.as_tensor(observation).unbind(-1)
        with torch.no_grad():
            torque = policy.mean(torch.atan2(sin, cos), speed)
        observation, reward, *_ = env.step(torque.unsqueeze(-1).numpy())
        total += torch.as_tensor(reward)
    env.close()
    return total.mean().item()


Case = tuple[str, int]
"""An estimator, and the number of steps between two cuts."""


def draw_picture(trainings: dict[Case, Training], path: str) -> None:
    """Draw the learning curves, and how large the gradients were."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    shortest = min(steps for _, steps in trainings)
    for (name, steps), training in trainings.items():
        style = {
            "color": f"C{ESTIMATORS.index(name)}",
            "linestyle": "-" if steps == shortest else ":",
            "label": f"{name}, {steps} steps",
        }
        left.plot(training.returns, **style)
        right.semilogy(training.norms, **style)
    left.set_ylabel("return of 200 steps, while training")
    right.set_ylabel("norm of the gradient before clipping")
    for ax in (left, right):
        ax.set_xlabel("update")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
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
    settings = Settings(**vars(parser.parse_args()))
    if settings.piece < 1 or STEPS % settings.piece:
        parser.error(f"--piece {settings.piece} does not divide {STEPS}")
    return settings


def main() -> None:
    """Train in every way, evaluate in Gymnasium, and say which got furthest."""
    settings = parse()
    if settings.tiny:
        settings = replace(settings, updates=4, rollouts=16, episodes=20)
    torch.set_num_threads(1)
    cases = [(name, settings.piece) for name in ESTIMATORS]
    cases += [(name, STEPS) for name in PURE if (name, STEPS) not in cases]
    trainings: dict[Case, Training] = {}
    console = Console(stderr=True)
    with Progress(
        console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        for name, steps in cases:
            task = bar.add_task(f"{name}, {steps} steps", total=settings.updates)
            trainings[name, steps] = train(name, steps, settings, bar, task)
    spent = settings.updates * settings.rollouts * STEPS
    print(f"Pendulum-v1, {spent:,} environment steps for each row")
    print(f"  {'':37s}{'mean return':>12s}{'gradient norm':>20s}")
    print(f"  {'':37s}{'in Gymnasium':>12s}{'median':>10s}{'largest':>10s}")
    reached = {}
    for (name, steps), training in trainings.items():
        reached[name, steps] = evaluate(
            training.policy, settings.episodes, settings.seed
        )
        print(
            f"  {f'{name} through {steps} steps':37s}{reached[name, steps]:12.0f}"
            f"{median(training.norms):10.2g}{max(training.norms):10.2g}"
        )
    best, steps = max(reached, key=lambda case: reached[case])
    print(f"Best: {best} through {steps} steps. Hanging down returns about -1,600,")
    print("the best controllers about -150.")
    if settings.plot:
        draw_picture(trainings, settings.plot)
        print(f"picture: {settings.plot}")


if __name__ == "__main__":
    main()
