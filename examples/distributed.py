"""One guide, fitted by as many processes as there are.

Every point has a discrete and a continuous latent, and the guide's family holds the
exact posterior, so that the loss comes down to minus the log-evidence, which is known.
The particles of every step are divided over the ranks that torchrun has started; in a
single process the same script has all of them.

    torchrun --nproc_per_node 2 examples/distributed.py
    python examples/distributed.py
"""

from __future__ import annotations

import argparse
import datetime
import os
import time
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pyro
import pyro.distributions as dist
import torch
import torch.distributed
from torch import Tensor

import pgplugins as pg

RATE = 0.3
CENTRES = (-1.5, 1.5)
NOISE = 0.8


def option(default: Any, text: str) -> Any:
    """A field of the settings, with its line in ``--help``."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """What can be set on the command line."""

    seed: int = option(0, "seed of every random number, the same on all ranks")
    points: int = option(50, "number of data points")
    particles: int = option(64, "samples of the guide per step, of all ranks together")
    steps: int = option(600, "optimisation steps")
    tiny: bool = option(False, "finish within seconds")


def model(data: Tensor) -> None:
    """For every point a coin, a Normal around what it says, and noise."""
    with pyro.plate("data", len(data)):
        side = pyro.sample("side", dist.Bernoulli(RATE))
        centre = torch.where(side > 0, CENTRES[1], CENTRES[0])
        place = pyro.sample("place", dist.Normal(centre, 1.0))
        pyro.sample("point", dist.Normal(place, NOISE), obs=data)


def guide(data: Tensor) -> None:
    """A coin for every point, and a Normal for either side."""
    n = len(data)
    logits = pyro.param("logits", torch.zeros(n))
    loc = pyro.param("loc", torch.zeros(2, n))
    scale = pyro.param("scale", torch.ones(2, n), constraint=dist.constraints.positive)
    with pyro.plate("data", n):
        side = pyro.sample("side", dist.Bernoulli(logits=logits))
        on = side > 0
        law = dist.Normal(torch.where(on, loc[1], loc[0]), torch.where(on, *scale))
        pyro.sample("place", law)


def minus_log_evidence(data: Tensor) -> float:
    """What the loss is at the posterior."""
    spread = (1 + NOISE**2) ** 0.5
    parts = [
        dist.Normal(centre, spread).log_prob(data) + torch.tensor(mass).log()
        for centre, mass in zip(CENTRES, (1 - RATE, RATE), strict=True)
    ]
    return -torch.logsumexp(torch.stack(parts), 0).sum().item()


def train(data: Tensor, settings: Settings) -> list[float]:
    """Fit the guide; the loss of every step, which all ranks are told."""
    elbo = pg.ELBO(
        num_particles=settings.particles,
        vectorize_particles=True,
        max_plate_nesting=1,
        estimators={"side": "score_function", "place": "hybrid"},
        distributed=torch.distributed.is_initialized(),
    )
    optimizer = pyro.optim.ClippedAdam({"lr": 0.03, "clip_norm": 10.0})
    svi = pyro.infer.SVI(model, guide, optimizer, elbo)
    return [svi.step(data) for _ in range(settings.steps)]


def largest_difference() -> float:
    """How far any parameter of any rank is from the first rank's."""
    own = torch.cat([p.detach().reshape(-1) for p in pyro.get_param_store().values()])
    if not torch.distributed.is_initialized():
        return 0.0
    first = own.clone()
    torch.distributed.broadcast(first, 0)
    largest = (own - first).abs().max()
    torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
    return largest.item()


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
    """Train on all ranks; the first one prints."""
    settings = parse()
    if settings.tiny:
        settings = replace(settings, points=10, steps=250)
    torch.set_num_threads(1)
    rank, ranks = 0, 1
    if "RANK" in os.environ:  # torchrun says which process this is
        torch.distributed.init_process_group(
            "gloo", timeout=datetime.timedelta(minutes=2)
        )
        rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    pyro.set_rng_seed(settings.seed)  # alike everywhere; draws differ all the same
    data = 2 * torch.randn(settings.points)

    begun = time.perf_counter()
    losses = train(data, settings)
    seconds = (time.perf_counter() - begun) / settings.steps
    difference = largest_difference()
    if rank == 0:
        last = losses[-len(losses) // 10 :]
        print(f"{settings.particles} particles on {ranks} ranks")
        print(f"loss at the start   {losses[0]:9.3f}")
        print(f"mean of the last    {sum(last) / len(last):9.3f}")
        print(f"minus log-evidence  {minus_log_evidence(data):9.3f}")
        print(f"ranks differ by     {difference:9.1e}")
        print(f"milliseconds a step {1e3 * seconds:9.1f}")
    if ranks > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
