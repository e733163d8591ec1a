"""Score function or pathwise gradient? It depends on how fast the cost wiggles.

A bandit with a Gaussian policy: the action is x ~ Normal(mu, sigma), its cost is
sin(k x). The pathwise gradient differentiates the cost, so its variance grows with k
squared. The score function only sees values between -1 and 1, and does not care. While
the policy sees less than about one wiggle the pathwise gradient is better, beyond that
the score function is: they change places where k * sigma is about 1.

Both variances have a closed form here, and ``pg.compare`` measures them; hybrid, which
combines the two, is measured beside them.

    python examples/gaussian_bandit.py --plot gaussian_bandit.png
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import brentq
from torch.distributions import Normal

import pgplugins as pg

ESTIMATORS = {
    # At mu = 0 the best constant baseline is 0: none would help the score function.
    "score_function": pg.estimator("score_function", baseline=None),
    "reparameterized": pg.estimator("reparameterized"),
    "hybrid": pg.estimator("hybrid"),
}


def option(default: Any, text: str) -> Any:
    """A field of the settings, with its line in ``--help``."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """What can be set on the command line."""

    seed: int = option(0, "seed of every random number")
    sigma: float = option(0.5, "standard deviation of the policy, whose mean is 0")
    points: int = option(7, "values of k * sigma from 1/8 to 8, evenly spread in log")
    samples: int = option(64, "samples behind each gradient")
    runs: int = option(1_000, "gradients that each estimator is measured with")
    plot: str = option("", "write a picture to this file")
    tiny: bool = option(False, "finish within seconds")


def score_variance(wiggle: float, sigma: float) -> float:
    """Variance of one sample's sin(k x) (x - mu) / sigma^2 at mu = 0.

    Its square has the mean E[(1 - cos(2 k x)) x^2] / (2 sigma^4), and for a standard
    normal e is E[cos(t e) e^2] = (1 - t^2) exp(-t^2 / 2).

    Args:
        wiggle: k * sigma.
        sigma: Standard deviation of the policy.
    """
    z = wiggle**2
    second_moment = (1 - (1 - 4 * z) * math.exp(-2 * z)) / 2
    return (second_moment - z * math.exp(-z)) / sigma**2


def path_variance(wiggle: float, sigma: float) -> float:
    """Variance of one sample's k cos(k x) at mu = 0.

    Args:
        wiggle: k * sigma.
        sigma: Standard deviation of the policy.
    """
    z = wiggle**2
    return z * ((1 + math.exp(-2 * z)) / 2 - math.exp(-z)) / sigma**2


def exact_gradient(wiggle: float, sigma: float) -> float:
    """Derivative of E[sin(k x)] = sin(k mu) exp(-(k sigma)^2 / 2) at mu = 0."""
    return wiggle / sigma * math.exp(-(wiggle**2) / 2)


def crossing() -> float:
    """The k * sigma at which both variances are the same; sigma cancels."""
    found: float = brentq(
        lambda w: path_variance(w, 1.0) - score_variance(w, 1.0), 0.5, 3.0
    )
    return found


class Point(NamedTuple):
    """What was measured at one k * sigma."""

    wiggle: float
    variance: dict[str, float]
    """Variance of a gradient times its number of samples, by estimator."""
    bias_z: dict[str, float]
    best: str | None


def measure(wiggle: float, settings: Settings) -> Point:
    """Compare the estimators at one k * sigma."""
    mu = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    k = wiggle / settings.sigma
    exact = torch.tensor(exact_gradient(wiggle, settings.sigma), dtype=mu.dtype)
    found = pg.compare(
        (lambda x: torch.sin(k * x), lambda: Normal(mu, settings.sigma)),
        ESTIMATORS,
        params={"mu": mu},
        num_samples=settings.samples,
        reference={"mu": exact},
        num_runs=settings.runs,
        seed=settings.seed,
        name=f"k sigma = {wiggle:g}",
    )
    return Point(
        wiggle,
        {row.estimator: settings.samples * row.variance for row in found.rows},
        {row.estimator: row.bias_z for row in found.rows},
        found.best,
    )


def draw_picture(points: list[Point], settings: Settings, path: str) -> None:
    """Draw the measured variances, and the closed forms as lines."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    wiggles = [point.wiggle for point in points]
    fine = np.geomspace(wiggles[0], wiggles[-1], 200)
    forms = {"score_function": score_variance, "reparameterized": path_variance}
    for name, mark in zip(ESTIMATORS, "osD", strict=True):
        measured = [point.variance[name] for point in points]
        (dots,) = ax.plot(wiggles, measured, mark, label=f"{name}, measured")
        if name in forms:
            exact = [forms[name](w, settings.sigma) for w in fine]
            ax.plot(fine, exact, color=dots.get_color(), label=f"{name}, exact")
    ax.axvline(crossing(), linestyle=":", color="grey", label="the exact ones cross")
    ax.set_xlabel("k sigma: wiggles of the cost within the policy's reach")
    ax.set_ylabel("variance of one sample's gradient")
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
    """Measure at every k * sigma and print both sides of the crossing."""
    settings = parse()
    if settings.tiny:
        settings = replace(settings, points=4, runs=300)
    torch.set_num_threads(1)
    wiggles = np.geomspace(1 / 8, 8, settings.points).tolist()
    # pg.compare shows a progress bar of its own.
    points = [measure(wiggle, settings) for wiggle in wiggles]
    print("Variance of one sample's gradient for the mean, cost sin(k x):")
    print(f"  {'':>8s}{'score_function':^22s}{'reparameterized':^22s}{'hybrid':>10s}")
    heads = f"{'exact':>11s}{'measured':>11s}" * 2 + f"{'measured':>10s}"
    print(f"  {'k sigma':>8s}{heads}   most efficient")
    for point in points:
        v, at = point.variance, (point.wiggle, settings.sigma)
        print(
            f"  {point.wiggle:8.3f}"
            f"{score_variance(*at):11.3g}{v['score_function']:11.3g}"
            f"{path_variance(*at):11.3g}{v['reparameterized']:11.3g}"
            f"{v['hybrid']:10.3g}   {point.best}"
        )
    worst = max(abs(z) for point in points for z in point.bias_z.values())
    print(f"The exact variances cross at k sigma = {crossing():.3f}: below it pathwise")
    print("is better, above it the score function. Hybrid has the better of both, and")
    print("pays for it in time: most efficient is the least variance times seconds.")
    print(f"Largest deviation from the exact gradient: {worst:.1f} standard errors.")
    if settings.plot:
        draw_picture(points, settings, settings.plot)
        print(f"picture: {settings.plot}")


if __name__ == "__main__":
    main()
