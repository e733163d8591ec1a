"""A variational autoencoder with 200 binary latents, trained with seven estimators.

Scikit-learn's digits, 8 x 8 pixels set to black or white. Every estimator trains the
same network from the same start; then all of them are measured at one point on the way.
The last three are biased, so what they reach is judged by the ELBO of binary latents,
which is what the others maximise.

    python examples/discrete_vae.py --plot discrete_vae.png
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import pgplugins as pg

PARTICLES = {"score_function": 2}
"""Particles for each estimator; two of leave-one-out cost what one of DisARM costs."""
ESTIMATORS = (
    "score_function",
    "disarm",
    "rebar",
    "relax",
    "gumbel_softmax",
    "straight_through",
    "reinmax",
)


def option(default: Any, text: str) -> Any:
    """A field of the settings, with its line in ``--help``."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """What can be set on the command line."""

    seed: int = option(0, "seed of every random number")
    latents: int = option(200, "binary latents per image")
    batch: int = option(100, "images per step")
    epochs: int = option(30, "passes through the data")
    runs: int = option(200, "gradients that each estimator is measured with")
    plot: str = option("", "write a picture to this file")
    tiny: bool = option(False, "finish within seconds")


class Autoencoder(nn.Module):
    """One hidden layer each way."""

    def __init__(self, latents: int, pixels: int = 64, hidden: int = 128) -> None:
        """Encoder and decoder with Bernoulli logits as their results."""
        super().__init__()
        self.latents = latents
        self.encoder = nn.Sequential(
            nn.Linear(pixels, hidden), nn.Tanh(), nn.Linear(hidden, latents)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latents, hidden), nn.Tanh(), nn.Linear(hidden, pixels)
        )

    def model(self, images: Tensor) -> None:
        """Fair coins, decoded."""
        pyro.module("decoder", self.decoder)
        with pyro.plate("images", len(images)):
            prior = dist.Bernoulli(torch.full((self.latents,), 0.5)).to_event(1)
            code = pyro.sample("code", prior)
            pixels = dist.Bernoulli(logits=self.decoder(code)).to_event(1)
            pyro.sample("pixels", pixels, obs=images)

    def guide(self, images: Tensor) -> None:
        """A coin for every latent, decided by the image."""
        pyro.module("encoder", self.encoder)
        with pyro.plate("images", len(images)):
            logits = self.encoder(images)
            pyro.sample("code", dist.Bernoulli(logits=logits).to_event(1))


def load() -> Tensor:
    """1,797 digits as black and white pixels."""
    return torch.tensor(load_digits().data > 8).float()


def objective(name: str) -> pg.ELBO:
    """An ELBO with one estimator."""
    particles = PARTICLES.get(name, 1)
    return pg.ELBO(
        num_particles=particles,
        vectorize_particles=particles > 1,
        max_plate_nesting=1,
        estimators=name,
    )


@dataclass
class Curve:
    """Seconds spent on steps, and the ELBO per image after each epoch."""

    seconds: list[float]
    elbo: list[float]


def train(name: str, images: Tensor, settings: Settings) -> tuple[Autoencoder, Curve]:
    """Train from the start that all estimators share."""
    pyro.clear_param_store()
    pyro.set_rng_seed(settings.seed)
    network = Autoencoder(settings.latents)
    adam = pyro.optim.Adam({"lr": 1e-3})
    svi = pyro.infer.SVI(network.model, network.guide, adam, objective(name))
    # With values as drawn: the ELBO that a relaxation trains is another program's.
    judge = objective("score_function")
    curve, spent = Curve([], []), 0.0
    for _ in range(settings.epochs):
        order = torch.randperm(len(images))
        begun = time.perf_counter()
        for batch in images[order].split(settings.batch):
            svi.step(batch)
        spent += time.perf_counter() - begun
        loss = judge.loss(network.model, network.guide, images)
        curve.seconds.append(spent)
        curve.elbo.append(-loss / len(images))
    return network, curve


def measure(network: Autoencoder, images: Tensor, settings: Settings) -> pg.Comparison:
    """Variance, bias and time of all estimators at the same parameters."""
    return pg.compare(
        (network.model, network.guide, (images[: settings.batch],)),
        [name for name in ESTIMATORS if name != "score_function"] + ["score_function"],
        elbo=pg.ELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1),
        num_runs=settings.runs,
        seed=settings.seed,
    )


def draw_picture(curves: dict[str, Curve], compared: pg.Comparison, path: str) -> None:
    """Draw the ELBO against time, and gradient variance against time per step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, curve in curves.items():
        left.plot(curve.seconds, curve.elbo, label=name)
    left.set_xlabel("seconds")
    left.set_ylabel("ELBO per image (nats)")
    left.legend()
    compared.plot(right)
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
    """Train with every estimator, then measure all of them at one point."""
    settings = parse()
    if settings.tiny:
        settings = replace(settings, latents=16, epochs=4, runs=40)
    torch.set_num_threads(1)
    images = load()[:600] if settings.tiny else load()
    curves = {}
    print(f"{len(images)} images, {settings.latents} latents, {settings.epochs} epochs")
    print(f"  {'':18s}{'first ELBO':>12s}{'last ELBO':>12s}{'seconds':>10s}")
    for name in ESTIMATORS:
        _, curve = train(name, images, settings)
        curves[name] = curve
        print(
            f"  {name:18s}{curve.elbo[0]:12.2f}{curve.elbo[-1]:12.2f}"
            f"{curve.seconds[-1]:10.1f}"
        )
    network, _ = train("disarm", images, replace(settings, epochs=2))
    compared = measure(network, images, settings)
    print("\nGradients after two epochs with disarm, two particles each:")
    print(compared.table())
    if settings.plot:
        draw_picture(curves, compared, settings.plot)
        print(f"picture: {settings.plot}")


if __name__ == "__main__":
    main()
