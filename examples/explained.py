"""What a gradient is made of, site by site, and what is wrong with it.

Three objectives are explained: the quadratic cost of a Gaussian draw, whose score and
pathwise part are both right; a guide with a discrete and a continuous latent; and a
cost that jumps, where the pathwise part is wrong.

    python examples/explained.py
"""

from __future__ import annotations

import argparse

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

import pgplugins as pg


def quadratic() -> None:
    """A plain expectation: its gradient is (-2.6, 2.6)."""
    mu = torch.tensor(0.7, requires_grad=True)
    sigma = torch.tensor(1.3, requires_grad=True)

    def cost(x: Tensor) -> Tensor:
        return (x - 2) ** 2

    print(
        pg.explain(
            (cost, lambda: dist.Normal(mu, sigma)),
            params={"mu": mu, "sigma": sigma},
            num_samples=1000,
            seed=0,
            name="a quadratic cost",
        )
    )


def model() -> None:
    """Is the effect there, and how large is it?"""
    there = pyro.sample("there", dist.Bernoulli(0.3))
    size = pyro.sample("size", dist.Normal(0.0, 2.0))
    pyro.sample("seen", dist.Normal(there * size, 0.5), obs=torch.tensor(1.5))


def guide() -> None:
    """The size depends on whether the effect is there."""
    logit = pyro.param("logit", torch.tensor(0.0))
    loc = pyro.param("loc", torch.tensor([0.0, 1.0]))
    there = pyro.sample("there", dist.Bernoulli(logits=logit))
    pyro.sample("size", dist.Normal(loc[there.long()], 0.7))


def latents() -> None:
    """A model and its guide."""
    elbo = pg.ELBO(num_particles=8, vectorize_particles=True, max_plate_nesting=0)
    print(pg.explain((model, guide, ()), elbo=elbo, seed=0, name="two latents"))


def jump() -> None:
    """A program with costs, one of which is a fine for crossing a line."""
    speed = torch.tensor(0.5, requires_grad=True)

    def drive() -> None:
        pace = pyro.sample("pace", dist.Normal(speed, 0.5))
        pg.cost("time", 1 - pace)
        pg.cost("fine", 4.0 * (pace > 1.0))

    print(
        pg.explain(
            drive, {"speed": speed}, num_particles=100, seed=0, name="a fine for speed"
        )
    )


def main() -> None:
    """Explain all three."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="it is short as it is")
    parser.parse_args()
    torch.set_num_threads(1)
    quadratic()
    print()
    latents()
    print()
    jump()


if __name__ == "__main__":
    main()
