"""Numbers and flags of users are checked where they come in."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

import pgplugins as pg
from pgplugins.core.numbers import flag, plate_nesting, positive_integer, within


@pytest.mark.parametrize("value", [-1, 1.5, "a", None, True])
def test_nesting_is_a_whole_number_or_left_open(value: object) -> None:
    with pytest.raises(pg.PgpluginsError, match="max_plate_nesting"):
        plate_nesting(value)
    for good in (0, 3, math.inf):
        plate_nesting(good)


@pytest.mark.parametrize("objective", [pg.ELBO, pg.ExpectedCost])
@pytest.mark.parametrize(
    "options",
    [
        {"max_plate_nesting": -1},
        {"static": "yes"},
        {"vectorize_particles": "no"},
        {"num_particles": 0},
        {"dependencies": "magic"},
    ],
)
def test_objectives_check_their_options(objective: type, options: dict) -> None:
    with pytest.raises(pg.PgpluginsError, match=next(iter(options))):
        objective(**options)


@pytest.mark.parametrize(
    "options", [{"horizon": -1}, {"horizon": "a"}, {"max_parameters": 0}]
)
def test_hybrid_checks_its_options(options: dict) -> None:
    with pytest.raises(pg.PgpluginsError, match=next(iter(options))):
        pg.estimator("hybrid", **options)


def test_ranges() -> None:
    for value in (0.0, 0.99):
        within(value, "decay", 0.0, 1.0, below=True)
    for bad in (-0.1, 1.0, math.nan, "a", True):
        with pytest.raises(pg.PgpluginsError, match="decay"):
            within(bad, "decay", 0.0, 1.0, below=True)


def test_flags_and_counts() -> None:
    flag(False, "static")
    positive_integer(1, "n")
    for bad in (True, 0, 2.0):
        with pytest.raises(pg.PgpluginsError, match="n="):
            positive_integer(bad, "n")


@pytest.mark.parametrize("seed", ["a", -1, 1.5, True, 2**32])
def test_a_seed_is_refused_where_it_comes_in(seed: object) -> None:
    mu = torch.tensor(0.5, requires_grad=True)
    objective = (lambda x: x**2, lambda: Normal(mu, 1.0))
    for measure in (
        lambda: pg.compare(objective, ["hybrid"], params={"mu": mu}, seed=seed),
        lambda: pg.explain(objective, params={"mu": mu}, seed=seed),
        lambda: pg.testing.check_estimator("enumerate", seed=seed),
    ):
        with pytest.raises(pg.PgpluginsError, match="seed="):
            measure()
