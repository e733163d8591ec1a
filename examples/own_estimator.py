"""Write an estimator, register it, and use it by name.

Latin hypercube sampling (McKay, Beckman and Conover 1979) spreads the rows of one draw
evenly: the line is cut into as many pieces of equal probability as there are rows, and
each piece gets one. Every row by itself has the right law, so the pathwise gradient
stays unbiased, but whatever adds up over the coordinates hardly varies any more. It is
compared with plain pathwise at the same number of cost evaluations, against exact
gradients.

    python examples/own_estimator.py

To publish an estimator as a package that is found by its name, start with
``pgplugins new NAME``; examples/pgplugins-example is this one as such a package.
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

ROWS = 16


@pg.register
class LatinHypercube(pg.Estimator):
    """``mean f(x_r)`` with one ``x_r`` in each piece: pathwise, evenly spread."""

    name = "latin_hypercube"
    traits = pg.Traits(
        unbiased=True,
        needs=frozenset({"rsample", "differentiable_cost"}),
        # The rows avoid one another: no leave-one-out across them.
        independent_rows=False,
        cost_evaluations=ROWS,
    )

    def draw(self, dist: torch.distributions.Distribution) -> pg.Draw:
        """Draw a row in each piece, the pieces in another order for each coordinate."""
        shape = (ROWS, *dist.batch_shape, *dist.event_shape)
        base = without_events(dist)
        noise = torch.rand(2, *shape, dtype=base.mean.dtype, device=base.mean.device)
        piece, place = noise[0].argsort(0), noise[1]
        tiny = torch.finfo(noise.dtype).eps
        # A quantile is differentiable in the parameters, as a path should be.
        value = base.icdf(((piece + place) / ROWS).clamp(tiny, 1 - tiny))
        return pg.Draw(dist=dist, value=value)

    def gradient_term(self, draw: pg.Draw, cost: Tensor) -> None:
        """Nothing is missing: the paths carry the gradient."""
        return None

    def refusal(self, dist: torch.distributions.Distribution) -> str | None:
        """Refuse laws that do not know their quantiles."""
        base = without_events(dist)
        try:
            base.icdf(torch.full_like(base.mean, 0.5))
        except NotImplementedError:
            return f"{type(base).__name__} has no icdf"
        return None


def without_events(
    dist: torch.distributions.Distribution,
) -> torch.distributions.Distribution:
    """The law of one coordinate, where ``to_event`` has joined several."""
    while isinstance(dist, torch.distributions.Independent):
        dist = dist.base_dist
    return dist


def option(default: Any, text: str) -> Any:
    """A field of the settings, with its line in ``--help``."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """What can be set on the command line."""

    seed: int = option(0, "seed of every random number")
    runs: int = option(4_000, "gradients that each estimator is measured with")
    tiny: bool = option(False, "finish within seconds")


def gradients(
    make_loss: Callable[[], Tensor], parameters: list[Tensor], runs: int
) -> Tensor:
    """Many gradients, shape ``(runs, coordinates)``."""
    return torch.stack(
        [
            torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, parameters)])
            for loss in (make_loss() for _ in range(runs))
        ]
    )


def show(found: dict[str, Tensor], exact: Tensor) -> None:
    """Print how far each mean is from the truth, and how much each varies."""
    for name, samples in found.items():
        error = samples.std(0) / len(samples) ** 0.5
        z = ((samples.mean(0) - exact) / error).abs().max()
        variance = samples.var(0).sum()
        print(f"  {name:18s} largest |z| {z:4.1f}   variance {variance:8.2g}")


def compare_expectations(settings: Settings) -> None:
    """Differentiate E[x^3 + x] of a Normal, which is m^3 + 3 m s^2 + m."""
    mu = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    exact_loss = mu**3 + 3 * mu * sigma**2 + mu
    exact = torch.stack(torch.autograd.grad(exact_loss, (mu, sigma)))
    found = {}
    for name, samples in (("reparameterized", ROWS), ("latin_hypercube", 1)):
        found[name] = gradients(
            lambda name=name, samples=samples: pg.expectation(
                lambda x: x**3 + x,
                dist.Normal(mu, sigma),
                estimator=name,
                num_samples=samples,
            ),
            [mu, sigma],
            settings.runs,
        )
    print("E[x^3 + x] for a Normal")
    show(found, exact)


def compare_elbos(settings: Settings) -> None:
    """Poisson regression, whose ELBO has a closed form.

    The rates are exp(w . x) with weights w ~ Normal(0, 1) and the guide is a mean-field
    Normal(m, s), so that E[exp(w . x)] = exp(m . x + s^2 . x^2 / 2).
    """
    own = torch.Generator().manual_seed(settings.seed)
    inputs = torch.randn(30, 4, dtype=torch.float64, generator=own)
    truth = torch.tensor([0.5, -0.5, 0.3, 0.0], dtype=torch.float64)
    counts = torch.poisson((inputs @ truth).exp(), generator=own)
    m = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    s = torch.full((4,), 0.2, dtype=torch.float64, requires_grad=True)
    prior = dist.Normal(torch.zeros_like(m), 1.0)

    def model() -> None:
        weights = pyro.sample("weights", prior.to_event(1))
        # Rows and particles lie to the left of the plate, whose dimension is a 1 here.
        log_rates = (weights * inputs).sum(-1)
        with pyro.plate("data", len(counts)):
            pyro.sample("count", dist.Poisson(log_rates.exp()), obs=counts)

    def guide() -> None:
        pyro.sample("weights", dist.Normal(m, s).to_event(1))

    kl = torch.distributions.kl_divergence(dist.Normal(m, s), prior).sum()
    rates = (inputs @ m + inputs**2 @ s**2 / 2).exp()
    exact_loss = rates.sum() - counts @ (inputs @ m) + kl
    exact = torch.cat(torch.autograd.grad(exact_loss, (m, s)))
    found = {}
    for name, particles in (("reparameterized", ROWS), ("latin_hypercube", 1)):
        elbo = pg.ELBO(
            num_particles=particles,
            vectorize_particles=particles > 1,
            max_plate_nesting=1,
            estimators={"weights": name},
        )
        found[name] = gradients(
            lambda elbo=elbo: elbo.differentiable_loss(model, guide),
            [m, s],
            settings.runs,
        )
    print("Negative ELBO of a Poisson regression")
    show(found, exact)


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
    print(f"Gradients from {ROWS} evaluations of the cost each, {settings.runs} times")
    compare_expectations(settings)
    compare_elbos(settings)
    try:
        law = dist.Gamma(2.0, 1.0)
        pg.expectation(lambda x: x**2, law, estimator="latin_hypercube")
    except pg.PgpluginsError as error:
        print(f"For a Gamma: {error}")


if __name__ == "__main__":
    main()
