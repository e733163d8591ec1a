"""Which estimators, site by site? A comparison, read from top to bottom.

The guide has a discrete and a continuous latent. Five choices of their estimators are
compared on the same gradient: all defaults, the discrete site enumerated, the
continuous one served by the hybrid as well, scores everywhere, and a relaxed discrete
site, which is biased.

    python examples/compared.py --report compared.html --plot compared.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from matplotlib.figure import Figure

import pgplugins as pg
from pgplugins.diagnostics.html_report import html_report


def model() -> None:
    """Is the effect there, and how large is it?"""
    there = pyro.sample("there", dist.Bernoulli(0.3))
    size = pyro.sample("size", dist.Normal(0.0, 2.0))
    pyro.sample("seen", dist.Normal(there * size, 0.5), obs=torch.tensor(1.5))


def guide() -> None:
    """The size is independent of whether the effect is there."""
    logit = pyro.param("logit", torch.tensor(0.0))
    loc = pyro.param("loc", torch.tensor(1.0))
    pyro.sample("there", dist.Bernoulli(logits=logit))
    pyro.sample("size", dist.Normal(loc, 0.7))


CHOICES = {
    "defaults": None,
    "enumerated": {"there": "enumerate"},
    "both better": {"there": "enumerate", "size": "hybrid"},
    "scores": "score_function",
    "relaxed": {"there": "straight_through"},
}


def main() -> None:
    """Compare, and print the table, its details and the winner."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="finish within seconds")
    parser.add_argument("--plot", default="", help="write a picture to this file")
    parser.add_argument("--report", default="", help="write a page to this file")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    found = pg.compare(
        (model, guide, ()),
        CHOICES,
        elbo=pg.ELBO(num_particles=8, vectorize_particles=True, max_plate_nesting=0),
        num_runs=100 if settings.tiny else 500,
        seed=0,
        name="two latents",
    )
    print(found.table())
    print()
    print(found.detail())
    if settings.plot:
        figure = Figure(figsize=(7, 5), layout="constrained")
        found.plot(figure.add_subplot())
        figure.savefig(settings.plot, dpi=150)
    if settings.report:
        page = html_report([found], "Two latents", detail=True)
        Path(settings.report).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
