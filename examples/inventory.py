"""Ordering and pricing: discrete and continuous decisions, with an exact gradient.

Every morning a shop sees its stock, decides how much to order (Categorical) and at what
price to sell (Normal); how many customers come (Poisson) depends on the price. Profit
has a pathwise gradient in the price, but orders and customers are whole numbers, so
what their laws depend on needs another estimator: enumeration, the score function or
a measure-valued derivative. They are combined site by site, and the price's own path
goes on through the customers' law.

Stocks are few, so the expected profit can be computed exactly, and with it the exact
gradient and the best policy.

    python examples/inventory.py --plot inventory.png
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from rich.console import Console
from rich.progress import Progress, TaskID
from torch import Tensor

import pgplugins as pg

DAYS, CAPACITY, LARGEST_ORDER = 2, 5, 3
BUY, KEEP, LOSE = 2.0, 0.3, 0.5
"""What a piece costs to order, to keep overnight, and not to have for a customer."""
PRICE_SCALE = 0.3
"""Standard deviation of the price around the policy's mean."""

Choice = dict[str, str]
CHOICES: dict[str, Choice] = {
    "enumerate the orders": {
        "order": "enumerate",
        "price": "reparameterized",
        "demand": "measure_valued",
    },
    "measure-valued": {
        "order": "measure_valued",
        "price": "reparameterized",
        "demand": "measure_valued",
    },
    "score + pathwise": {
        "order": "score_function",
        "price": "reparameterized",
        "demand": "score_function",
    },
    "score everywhere": {
        "order": "score_function",
        "price": "score_function",
        "demand": "score_function",
    },
}
"""Estimators by kind of site. A Poisson law has no last point to enumerate up to."""


def option(default: Any, text: str) -> Any:
    """A field of the settings, with its line in ``--help``."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """What can be set on the command line."""

    seed: int = option(0, "seed of every random number")
    particles: int = option(32, "simulated shops behind each update")
    updates: int = option(300, "updates of the policy")
    rate: float = option(0.1, "learning rate of Adam")
    runs: int = option(400, "gradients that each choice is measured with")
    plot: str = option("", "write a picture to this file")
    tiny: bool = option(False, "finish within seconds")


@dataclass(frozen=True)
class Policy:
    """Tables by day and stock.

    Args:
        logits: Of the orders, by the stock in the morning, shape ``(DAYS, CAPACITY + 1,
            LARGEST_ORDER + 1)``.
        prices: Mean prices by the stock once the order has come, shape ``(DAYS,
            CAPACITY + 1)``.
    """

    logits: Tensor
    prices: Tensor

    @classmethod
    def start(cls) -> Policy:
        """Any order is as likely as any other, and prices are high."""
        logits = torch.zeros(DAYS, CAPACITY + 1, LARGEST_ORDER + 1, dtype=torch.float64)
        prices = torch.full((DAYS, CAPACITY + 1), 7.0, dtype=torch.float64)
        return cls(logits.requires_grad_(), prices.requires_grad_())

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Both tables by name."""
        return {"logits": self.logits, "prices": self.prices}


def customers(price: Tensor) -> Tensor:
    """Expected number of customers a day."""
    return 2.5 * torch.exp(-0.35 * (price - 5))


def make_shop(policy: Policy) -> Any:
    """Return the program: some days of one shop, the costs minus its profit.

    Under an objective with particles each particle is one shop.
    """

    def shop() -> None:
        # The shop has not chosen the stock that it begins with.
        stock = pyro.sample("begin", dist.Categorical(torch.ones(CAPACITY + 1)))
        for day in range(DAYS):
            orders = dist.Categorical(logits=policy.logits[day][stock])
            order = pyro.sample(f"order_{day}", orders)
            # What does not fit is thrown away.
            stock = (stock + order).clamp(max=CAPACITY)
            prices = dist.Normal(policy.prices[day][stock], PRICE_SCALE)
            price = pyro.sample(f"price_{day}", prices)
            demand = pyro.sample(f"demand_{day}", dist.Poisson(customers(price)))
            sold = torch.minimum(demand, stock.to(demand))
            kept = stock - sold
            spent = BUY * order + KEEP * kept + LOSE * (demand - sold)
            pg.cost(f"day_{day}", spent - price * sold)
            stock = kept.long()

    return shop


def after_ordering(means: Tensor, ahead: Tensor) -> Tensor:
    """Exact expected cost from the moment on when the order has come.

    The price by Gauss-Hermite quadrature, the customers by their probabilities.

    Args:
        means: Mean prices, shape ``(*b, CAPACITY + 1)``: one for every stock.
        ahead: Expected cost of the later days by stock, shape ``(CAPACITY + 1,)``.

    Returns:
        Shape of ``means``.
    """
    nodes, weights = (
        torch.as_tensor(part) for part in np.polynomial.hermite_e.hermegauss(24)
    )
    stock = torch.arange(CAPACITY + 1)[:, None, None]
    demand = torch.arange(61)
    sold = torch.minimum(demand, stock)
    price = (means.unsqueeze(-1) + PRICE_SCALE * nodes).unsqueeze(-1)
    mass = dist.Poisson(customers(price)).log_prob(demand.double()).exp()
    cost = KEEP * (stock - sold) + LOSE * (demand - sold) - price * sold
    by_price = (mass * (cost + ahead[stock - sold])).sum(-1)
    return (by_price * weights).sum(-1) / math.sqrt(2 * math.pi)


STOCK_AFTER = (
    torch.arange(CAPACITY + 1)[:, None] + torch.arange(LARGEST_ORDER + 1)
).clamp(max=CAPACITY)
"""Stock once an order has come, by the stock before and the order."""
ORDER_COSTS = BUY * torch.arange(LARGEST_ORDER + 1, dtype=torch.float64)


def expected_cost(policy: Policy) -> Tensor:
    """The exact expected cost of a policy, with its exact gradient."""
    ahead = torch.zeros(CAPACITY + 1, dtype=torch.float64)
    for logits, means in reversed(list(zip(policy.logits, policy.prices, strict=True))):
        cost = ORDER_COSTS + after_ordering(means, ahead)[STOCK_AFTER]
        ahead = (logits.softmax(-1) * cost).sum(-1)
    # The first stock is as likely as any other.
    return ahead.mean()


def least_cost() -> float:
    """The expected cost of the best policy, prices to the hundredth."""
    ahead = torch.zeros(CAPACITY + 1, dtype=torch.float64)
    means = torch.arange(200, 900, dtype=torch.float64)[:, None] / 100
    for _ in range(DAYS):
        best_price = after_ordering(means.expand(-1, CAPACITY + 1), ahead).amin(0)
        ahead = (ORDER_COSTS + best_price[STOCK_AFTER]).amin(-1)
    return ahead.mean().item()


def train(
    choice: Choice, settings: Settings, bar: Progress, task: TaskID
) -> tuple[Policy, list[float]]:
    """Learn a policy; also the exact expected profit after every update."""
    pyro.set_rng_seed(settings.seed)
    policy = Policy.start()
    optimizer = torch.optim.Adam(policy.parameters.values(), lr=settings.rate)
    objective = pg.ExpectedCost(
        estimators={f"{kind}_*": name for kind, name in choice.items()},
        num_particles=settings.particles,
        max_plate_nesting=0,
    )
    shop, profits = make_shop(policy), []
    for _ in range(settings.updates):
        optimizer.zero_grad()
        objective(shop).backward()
        optimizer.step()
        with torch.no_grad():
            profits.append(-expected_cost(policy).item())
        bar.advance(task)
    return policy, profits


def measure(choice: Choice, policy: Policy, settings: Settings) -> pg.Comparison:
    """Variance, time and deviation from the exact gradient at a policy."""
    # compare gives one estimator to all sites but those that ask for another.
    asking = poutine.infer_config(
        make_shop(policy),
        lambda site: {"estimator": choice.get(site["name"].split("_")[0])},
    )
    tables = policy.parameters
    exact = torch.autograd.grad(expected_cost(policy), list(tables.values()))
    return pg.compare(
        asking,
        ["score_function"],
        params=tables,
        num_particles=settings.particles,
        reference=dict(zip(tables, exact, strict=True)),
        num_runs=settings.runs,
        num_warmup=10,  # none of these estimators learns
        seed=settings.seed,
        name="the shop",
    )


def draw_picture(curves: dict[str, list[float]], best: float, path: str) -> None:
    """Draw the exact profit after every update."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    for name, profits in curves.items():
        ax.plot(profits, label=name)
    ax.axhline(best, linestyle=":", color="grey", label="best policy")
    ax.set_xlabel("update")
    ax.set_ylabel("exact expected profit")
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
    """Measure every choice at the start, then learn with every choice."""
    settings = parse()
    if settings.tiny:
        settings = replace(settings, particles=16, updates=40, runs=60)
    torch.set_num_threads(1)
    # pg.compare shows a progress bar of its own.
    rows = {
        name: measure(choice, Policy.start(), settings).rows[0]
        for name, choice in CHOICES.items()
    }
    curves = {}
    console = Console(stderr=True)
    with Progress(
        console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        for name, choice in CHOICES.items():
            task = bar.add_task(name, total=settings.updates)
            _, curves[name] = train(choice, settings, bar, task)
    best, start = -least_cost(), -expected_cost(Policy.start()).item()
    print(f"Expected profit over {DAYS} days: {start:.3f} at first, {best:.3f} at best")
    heads = ("bias z", "variance", "ms", "profit learned", "of the best")
    print(f"  {'':20s}{''.join(f'{head:>15s}' for head in heads)}")
    for name, row in rows.items():
        profit = curves[name][-1]
        print(
            f"  {name:20s}{row.bias_z:15.1f}{row.variance:15.3g}"
            f"{1e3 * row.seconds:15.2f}{profit:15.3f}{profit / best:15.1%}"
        )
    print("Bias, against the exact gradient, variance and time are those of one")
    print("gradient at the first policy; profits are exact.")
    if settings.plot:
        draw_picture(curves, best, settings.plot)
        print(f"picture: {settings.plot}")


if __name__ == "__main__":
    main()
