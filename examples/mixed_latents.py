"""A discrete and a continuous latent in one guide, each with an estimator of its own.

Points on a line come from two clusters. Which cluster a point belongs to is discrete (a
Bernoulli site in a plate), where the clusters lie is continuous (a Normal site). The
negative ELBO of a mean-field guide has a closed form here, so losses and gradients are
compared with exact ones.

    python examples/mixed_latents.py --plot mixed_latents.png
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

import pgplugins as pg

PRIOR_SCALE = 5.0
CENTRES = (-1.5, 1.5)
CHOICES = {
    "enumerate + pathwise": {
        "member": "enumerate",
        "centres": "reparameterized",
    },
    "score + pathwise": {
        "member": "score_function",
        "centres": "reparameterized",
    },
    "score everywhere": {
        "member": "score_function",
        "centres": "score_function",
    },
}
"""Estimators by site name, as ``pg.ELBO(estimators=...)`` takes them."""


def option(default: Any, text: str) -> Any:
    """A field of the settings, with its line in ``--help``."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """What can be set on the command line."""

    seed: int = option(0, "seed of every random number")
    points: int = option(100, "number of data points")
    particles: int = option(16, "independent samples of the guide per step")
    steps: int = option(400, "optimisation steps")
    runs: int = option(1_000, "gradients that each estimator is measured with")
    plot: str = option("", "write a picture to this file")
    tiny: bool = option(False, "finish within seconds")


def generate(points: int) -> Tensor:
    """Half of the points from each cluster, with standard deviation one."""
    which = torch.arange(points) % 2
    return torch.tensor(CENTRES)[which] + torch.randn(points)


def model(data: Tensor) -> None:
    """Two centres, and a fair coin for every point."""
    prior = dist.Normal(torch.zeros(2), PRIOR_SCALE).to_event(1)
    centres = pyro.sample("centres", prior)
    with pyro.plate("data", len(data)):
        member = pyro.sample("member", dist.Bernoulli(0.5))
        # Particles and rows lie to the left of the plate; the last dimension holds the
        # two centres.
        centre = torch.where(member > 0, centres[..., 1], centres[..., 0])
        pyro.sample("point", dist.Normal(centre, 1.0), obs=data)


def guide(data: Tensor) -> None:
    """Centres and memberships, all independent."""
    # Not at zero, where the two clusters are alike and no gradient tells them apart.
    loc = pyro.param("loc", torch.tensor([-0.5, 0.5]))
    scale = pyro.param(
        "scale", torch.full((2,), 0.5), constraint=dist.constraints.positive
    )
    logits = pyro.param("logits", torch.zeros(len(data)))
    pyro.sample("centres", dist.Normal(loc, scale).to_event(1))
    with pyro.plate("data", len(data)):
        pyro.sample("member", dist.Bernoulli(logits=logits))


def exact_loss(data: Tensor) -> Tensor:
    """The negative ELBO at the present parameters, by the Gaussian integrals."""
    loc, scale, logits = (pyro.param(name) for name in ("loc", "scale", "logits"))
    ratio = (scale / PRIOR_SCALE) ** 2
    kl_centres = (ratio + (loc / PRIOR_SCALE) ** 2 - 1 - ratio.log()).sum() / 2
    q = torch.sigmoid(logits)
    entropy = binary_cross_entropy_with_logits(logits, q, reduction="sum")
    kl_members = len(data) * math.log(2) - entropy
    squares = (data.unsqueeze(-1) - loc) ** 2 + scale**2
    misfit = (1 - q) * squares[:, 0] + q * squares[:, 1]
    constant = len(data) * math.log(2 * math.pi)
    return kl_centres + kl_members + (misfit.sum() + constant) / 2


def exact_gradient(data: Tensor) -> dict[str, Tensor]:
    """Gradient of the exact loss for the unconstrained parameters, by name."""
    parameters = dict(pyro.get_param_store().named_parameters())
    found = torch.autograd.grad(exact_loss(data), list(parameters.values()))
    return dict(zip(parameters, found, strict=True))


def train(choice: dict[str, str], data: Tensor, settings: Settings) -> list[float]:
    """Fit the guide with one choice of estimators; the exact loss after every step."""
    pyro.clear_param_store()
    pyro.set_rng_seed(settings.seed)
    elbo = pg.ELBO(
        num_particles=settings.particles,
        vectorize_particles=True,
        max_plate_nesting=1,
        estimators=choice,
    )
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), elbo)
    losses = []
    for _ in range(settings.steps):
        svi.step(data)
        with torch.no_grad():
            losses.append(exact_loss(data).item())
    return losses


def measure(choice: dict[str, str], data: Tensor, settings: Settings) -> pg.Comparison:
    """Variance, bias and time of one choice at the parameters in Pyro's store."""
    elbo = pg.ELBO(
        num_particles=settings.particles, vectorize_particles=True, max_plate_nesting=1
    )
    # compare gives one estimator to all sites but those that ask for another.
    asking = poutine.infer_config(
        guide, lambda site: {"estimator": choice.get(site["name"])}
    )
    return pg.compare(
        (model, asking, (data,)),
        ["score_function"],
        elbo=elbo,
        reference=exact_gradient(data),
        num_runs=settings.runs,
        seed=settings.seed,
    )


def draw_picture(curves: dict[str, list[float]], path: str) -> None:
    """Draw the exact loss after every step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    for name, losses in curves.items():
        ax.plot(losses, label=name)
    ax.set_xlabel("step")
    ax.set_ylabel("exact negative ELBO")
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
    """Train with every choice, then measure every choice at the same point."""
    settings = parse()
    if settings.tiny:
        settings = replace(settings, points=40, steps=80, runs=100)
    torch.set_num_threads(1)
    pyro.set_rng_seed(settings.seed)
    data = generate(settings.points)
    curves = {name: train(choice, data, settings) for name, choice in CHOICES.items()}

    # Where the gradient matters: on the way, not at the optimum.
    train(CHOICES["enumerate + pathwise"], data, replace(settings, steps=25))
    print(f"{settings.points} points, {settings.particles} particles per step")
    heads = ("loss at start", "final loss", "variance", "ms", "bias z")
    print(f"  {'':22s}{''.join(f'{head:>15s}' for head in heads)}")
    for name, choice in CHOICES.items():
        (row,) = measure(choice, data, settings).rows
        cells = (
            f"{curves[name][0]:15.2f}",
            f"{curves[name][-1]:15.2f}",
            f"{row.variance:15.3g}",
            f"{row.seconds * 1e3:15.2f}",
            f"{row.bias_z:15.1f}",
        )
        print(f"  {name:22s}{''.join(cells)}")
    print("Losses are exact; variance, time and bias are those of one gradient.")
    if settings.plot:
        draw_picture(curves, settings.plot)


if __name__ == "__main__":
    main()
