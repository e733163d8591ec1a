"""How can the score function and the reparameterized gradient both be right?

For x = mu + s * eps the density log pi(x) does not even depend on mu: its total
derivative is zero. And yet REINFORCE multiplies a derivative of log pi with the cost
and gets the right gradient. This script shows in numbers why that is no contradiction,
which code for it is right, and which is wrong without an error; what pg.lint says of
the wrong ones; and both gradients side by side, as pg.explain measures them.

The cost is (x - 2)^2 with x ~ Normal(0.7, 1.3), so the gradient of its expectation is
(2 (mu - 2), 2 s) = (-2.6, 2.6), exactly.

    python examples/both_gradients.py --plot both_gradients.png
"""

from __future__ import annotations

import argparse
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

import pgplugins as pg
from pgplugins.errors import LintWarning

MU, SIGMA, TARGET = 0.7, 1.3, 2.0
EXACT = torch.tensor([2 * (MU - TARGET), 2 * SIGMA], dtype=torch.float64)


def option(default: Any, text: str) -> Any:
    """A field of the settings, with its line in ``--help``."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """What can be set on the command line."""

    seed: int = option(0, "seed of every random number")
    samples: int = option(400_000, "samples for each piece of code")
    calls: int = option(1_000, "calls of pg.expectation for each estimator")
    per_call: int = option(64, "samples in one call of pg.expectation")
    plot: str = option("", "write a picture to this file")
    only: str = option("", "derivatives, code, lint, explain or estimators alone")
    tiny: bool = option(False, "finish within seconds")


def cost(x: Tensor) -> Tensor:
    """The cost whose expectation is differentiated."""
    return (x - TARGET) ** 2


def score_of_a_held_sample(pi: Normal) -> Tensor:
    """REINFORCE as it should be: x is a number, only the density has parameters."""
    x = pi.sample()
    return cost(x).detach() * pi.log_prob(x)


def score_of_an_attached_sample(pi: Normal) -> Tensor:
    """The same with rsample: x moves along, and log pi(x) with it."""
    x = pi.rsample()
    return cost(x).detach() * pi.log_prob(x)


def product_without_detaching(pi: Normal) -> Tensor:
    """Differentiates E[f log pi], which is another function."""
    x = pi.rsample()
    return cost(x) * pi.log_prob(x)


def both_added(pi: Normal) -> Tensor:
    """The path and the score are each the whole gradient; here they are added."""
    x = pi.rsample()
    return cost(x) + cost(x).detach() * pi.log_prob(x.detach())


CODE: dict[str, Callable[[Normal], Tensor]] = {
    "sample(),  f.detach() * log_prob": score_of_a_held_sample,
    "rsample(), f.detach() * log_prob": score_of_an_attached_sample,
    "rsample(), f * log_prob": product_without_detaching,
    "rsample(), f + score term": both_added,
}
ESTIMATORS = ("score_function", "reparameterized", "hybrid")


@dataclass(frozen=True)
class Measured:
    """Independent estimates of the gradient, shape ``(n, 2)``, and what they tell."""

    gradients: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean estimate of (d mu, d s)."""
        return self.gradients.mean(0)

    @property
    def error(self) -> Tensor:
        """Standard errors of the mean."""
        return self.gradients.std(0) / len(self.gradients) ** 0.5

    @property
    def right(self) -> bool:
        """Whether the mean agrees with the exact gradient."""
        off = (self.mean - EXACT).abs()
        return bool((off <= 5 * self.error + 1e-9).all())


def measure_code(code: Callable[[Normal], Tensor], samples: int) -> Measured:
    """Gradient of a piece of code, apart for each of many samples."""
    mu = torch.full((samples,), MU, dtype=torch.float64, requires_grad=True)
    sigma = torch.full((samples,), SIGMA, dtype=torch.float64, requires_grad=True)
    parts = torch.autograd.grad(code(Normal(mu, sigma)).sum(), (mu, sigma))
    return Measured(torch.stack(parts, -1))


def measure_estimator(name: str, settings: Settings) -> Measured:
    """Gradients of ``pg.expectation``, one per call."""
    mu = torch.tensor(MU, dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor(SIGMA, dtype=torch.float64, requires_grad=True)
    # One instance for all calls, so that an estimator with state can learn.
    estimator = pg.estimator(name)
    warmup, found = settings.calls // 10, []
    for call in range(warmup + settings.calls):
        loss = pg.expectation(
            cost,
            Normal(mu, sigma),
            estimator=estimator,
            num_samples=settings.per_call,
        )
        gradient = torch.stack(torch.autograd.grad(loss, (mu, sigma)))
        if call >= warmup:
            found.append(gradient)
    return Measured(torch.stack(found))


def derivatives_of_the_log_density(eps: float) -> tuple[Tensor, Tensor]:
    """Derivatives of log pi(x) in (mu, s): with x held, and along x = mu + s eps."""
    mu = torch.tensor(MU, dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor(SIGMA, dtype=torch.float64, requires_grad=True)
    x = mu + sigma * eps
    held = Normal(mu, sigma).log_prob(x.detach())
    along = Normal(mu, sigma).log_prob(x)
    return (
        torch.stack(torch.autograd.grad(held, (mu, sigma), retain_graph=True)),
        torch.stack(torch.autograd.grad(along, (mu, sigma))),
    )


def show(rows: dict[str, Measured], *, variance: bool) -> None:
    """Print a table: mean and standard error in both directions, and the verdict."""
    for name, found in rows.items():
        cells = [
            f"{m:7.3f} +- {e:.3f}"
            for m, e in zip(found.mean.tolist(), found.error.tolist(), strict=True)
        ]
        if variance:
            cells.append(f"{found.gradients.var(0).sum().item():10.2g}")
        verdict = "right" if found.right else "WRONG"
        print(f"  {name:34s} {'  '.join(cells)}   {verdict}")


def show_code(settings: Settings) -> dict[str, Measured]:
    """Measure the four pieces of code."""
    print(f"Gradient of E[(x - 2)^2]: exactly ({EXACT[0]:.1f}, {EXACT[1]:.1f})")
    print(f"{'':37s}{'d mu':^16}  {'d s':^16}".rstrip())
    found = {name: measure_code(code, settings.samples) for name, code in CODE.items()}
    show(found, variance=False)
    return found


def show_estimators(settings: Settings) -> dict[str, Measured]:
    """Measure ``pg.expectation`` with several estimators."""
    print(f"pg.expectation, {settings.per_call} samples in each call:")
    print(f"{'':37s}{'d mu':^16}  {'d s':^16}  {'variance':>10}")
    found = {name: measure_estimator(name, settings) for name in ESTIMATORS}
    show(found, variance=True)
    return found


def show_derivatives(settings: Settings) -> dict[str, Measured]:
    """Print both derivatives of the log-density at a few draws."""
    print("Derivatives of log pi(x) in (mu, s) at x = mu + s * eps:")
    print(f"  {'eps':>5}   {'x held fixed':>17}   {'x moves along':>17}")
    for eps in (-1.0, 0.5, 2.0):
        held, along = (
            f"{mu:8.4f} {sigma:8.4f}"
            for mu, sigma in (d.tolist() for d in derivatives_of_the_log_density(eps))
        )
        print(f"  {eps:5.1f}   {held}   {along}")
    return {}


def show_lint(settings: Settings) -> dict[str, Measured]:
    """Print what lint finds in each piece of code."""
    for name, code in CODE.items():
        pi = Normal(
            torch.full((100,), MU, requires_grad=True),
            torch.full((100,), SIGMA, requires_grad=True),
        )
        with warnings.catch_warnings():
            # The findings are printed below.
            warnings.simplefilter("ignore", LintWarning)
            with pg.lint() as report:
                code(pi).mean().backward()
        found = "" if report.findings else ": nothing"
        print(f"pg.lint on {name}{found}")
        for finding in report.findings:
            print(f"  {Path(finding.file).name}:{finding.line}: {finding.rule}")
            for text in (finding.message, finding.remedy):
                print(textwrap.indent(textwrap.fill(text, 75), "    "))
    return {}


def show_explain(settings: Settings) -> dict[str, Measured]:
    """Print both gradients of the same draws."""
    mu = torch.tensor(MU, dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor(SIGMA, dtype=torch.float64, requires_grad=True)
    print(
        pg.explain(
            (cost, lambda: Normal(mu, sigma)),
            params={"mu": mu, "s": sigma},
            num_samples=settings.samples // 200,
            seed=settings.seed,
            name="pg.explain on (x - 2)^2",
        )
    )
    return {}


PARTS: dict[str, Callable[[Settings], dict[str, Measured]]] = {
    "derivatives": show_derivatives,
    "code": show_code,
    "lint": show_lint,
    "explain": show_explain,
    "estimators": show_estimators,
}


def draw_picture(rows: dict[str, Measured], path: str) -> None:
    """Draw every mean in the plane of the two derivatives."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    ax = figure.subplots()
    ax.plot(*EXACT.tolist(), "*", color="black", markersize=16, label="exact")
    for (name, found), mark in zip(rows.items(), "osv^DPX", strict=False):
        ax.plot(*found.mean.tolist(), mark, markersize=9, alpha=0.7, label=name)
    ax.set_xlabel("derivative in mu")
    ax.set_ylabel("derivative in s")
    figure.legend(loc="outside right upper", fontsize="small")
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
    """Measure everything and print it, part by part."""
    settings = parse()
    if settings.only and settings.only not in PARTS:
        raise SystemExit(f"--only {settings.only}: write one of {', '.join(PARTS)}.")
    if settings.tiny:
        settings = replace(settings, samples=100_000, calls=400)
    torch.manual_seed(settings.seed)
    found: dict[str, Measured] = {}
    names = [settings.only] if settings.only else list(PARTS)
    for name in names:
        if name != names[0]:
            print()
        found |= PARTS[name](settings)
    if settings.plot:
        draw_picture(found, settings.plot)


if __name__ == "__main__":
    main()
