"""Write an estimator, register it, and use it by name.

The antithetic pathwise estimator draws a sample and its mirror image about the mean. Both
have the right law, so their average is as unbiased as plain pathwise; whatever is odd about
the mean cancels in it, which leaves little variance where the cost is almost linear or
almost quadratic. It is compared with plain pathwise at the same number of cost
evaluations, against exact gradients.

    python examples/own_estimator.py

To publish an estimator as a package that is found by its name, see "Plugins" in the
documentation.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

import pgplugins as pg

SYMMETRIC = (
    torch.distributions.Laplace,
    torch.distributions.MultivariateNormal,
    torch.distributions.Normal,
    torch.distributions.Uniform,
)


@pg.register
class Antithetic(pg.Estimator):
    """``(f(x) + f(2 m - x)) / 2``: the pathwise estimator on mirrored pairs."""

    name = "antithetic"
    traits = pg.Traits(
        unbiased=True,
        needs=frozenset({"rsample", "differentiable_cost"}),
        # The two rows of a pair know each other: no leave-one-out across them.
        independent_rows=False,
        order="any",
        cost_evaluations=2,
    )

    def draw(self, dist: torch.distributions.Distribution) -> pg.Draw:
        """Draw a pair of rows, each attached to the parameters."""
        x = dist.rsample()
        return pg.Draw(dist=dist, value=torch.stack([x, 2 * dist.mean - x]))

    def gradient_term(self, draw: pg.Draw, cost: Tensor) -> None:
        """Nothing is missing: the paths carry the gradient."""
        return None

    def refusal(self, dist: torch.distributions.Distribution) -> str | None:
        """Refuse laws whose mirror image is another law."""
        while isinstance(dist, torch.distributions.Independent):
            dist = dist.base_dist
        if isinstance(dist, SYMMETRIC):
            return None
        return f"{type(dist).__name__} is not known to be symmetric about its mean"


def option(default: Any, text: str) -> Any:
    """A field of the settings, with its line in ``--help``."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """What can be set on the command line."""

    seed: int = option(0, "seed of every random number")
    evaluations: int = option(32, "cost evaluations per gradient, an even number")
    runs: int = option(4_000, "gradients that each estimator is measured with")
    tiny: bool = option(False, "finish within seconds")


def repeat(
    make_loss: Callable[[], Tensor], parameters: list[Tensor], runs: int
) -> Tensor:
    """Many gradients, shape ``(runs, parameters)``."""
    return torch.stack(
        [
            torch.stack(torch.autograd.grad(make_loss(), parameters))
            for _ in range(runs)
        ]
    )


def show(name: str, gradients: Tensor, exact: Tensor) -> None:
    """Print the mean with its standard error, and the variance in each coordinate."""
    error = gradients.std(0) / len(gradients) ** 0.5
    z = ((gradients.mean(0) - exact) / error.clamp_min(1e-12)).abs().max().item()
    mean, variance = gradients.mean(0).tolist(), gradients.var(0).tolist()
    print(
        f"  {name:18s}({mean[0]:7.4f}, {mean[1]:7.4f})   largest |z| {z:4.1f}   "
        f"variance ({variance[0]:.2g}, {variance[1]:.2g})"
    )


def compare_expectations(settings: Settings) -> None:
    """E[x^3 + x] of a Normal, which is m^3 + 3 m s^2 + m."""
    mu = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    exact_loss = mu**3 + 3 * mu * sigma**2 + mu
    exact = torch.stack(torch.autograd.grad(exact_loss, (mu, sigma)))
    print(f"E[x^3 + x]: exact gradient ({exact[0]:.4f}, {exact[1]:.4f})")
    for name in ("reparameterized", "antithetic"):
        rows = pg.estimator(name).traits.cost_evaluations
        gradients = repeat(
            lambda name=name, rows=rows: pg.expectation(
                lambda x: x**3 + x,
                dist.Normal(mu, sigma),
                estimator=name,
                num_samples=settings.evaluations // rows,
            ),
            [mu, sigma],
            settings.runs,
        )
        show(name, gradients, exact)


def compare_elbos(settings: Settings) -> None:
    """Poisson regression without regressors: the ELBO has a closed form.

    A rate exp(z) with z ~ Normal(0, 1) is seen through three counts, and the guide is
    Normal(m, s): E[exp(z)] = exp(m + s^2 / 2).
    """
    counts = torch.tensor([3.0, 5.0, 2.0], dtype=torch.float64)
    m = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    s = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)

    def model() -> None:
        z = pyro.sample("z", dist.Normal(torch.zeros_like(m), 1.0))
        with pyro.plate("counts", len(counts)):
            pyro.sample("count", dist.Poisson(z.exp()), obs=counts)

    def guide() -> None:
        pyro.sample("z", dist.Normal(m, s))

    kl = torch.distributions.kl_divergence(dist.Normal(m, s), dist.Normal(0.0, 1.0))
    exact_loss = len(counts) * (m + s**2 / 2).exp() - counts.sum() * m + kl
    exact = torch.stack(torch.autograd.grad(exact_loss, (m, s)))
    print(f"Negative ELBO: exact gradient ({exact[0]:.4f}, {exact[1]:.4f})")
    for name in ("reparameterized", "antithetic"):
        rows = pg.estimator(name).traits.cost_evaluations
        elbo = pg.ELBO(
            num_particles=settings.evaluations // rows,
            vectorize_particles=True,
            max_plate_nesting=1,
            estimators={"z": name},
        )
        gradients = repeat(
            lambda elbo=elbo: elbo.differentiable_loss(model, guide),
            [m, s],
            settings.runs,
        )
        show(name, gradients, exact)


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
    """Compare the two estimators on both fronts, and show a refusal."""
    settings = parse()
    if settings.tiny:
        settings = replace(settings, runs=600)
    torch.set_num_threads(1)
    pyro.set_rng_seed(settings.seed)
    print(f"{settings.evaluations} evaluations of the cost per gradient")
    compare_expectations(settings)
    compare_elbos(settings)
    try:
        pg.expectation(lambda x: x**2, dist.Exponential(1.0), estimator="antithetic")
    except pg.PgpluginsError as error:
        print(f"Asked for an Exponential: {error}")


if __name__ == "__main__":
    main()
