"""Non-finite values are counted and named; finite ones pass."""

import pytest
import torch

import pgplugins as pg
from pgplugins.core.finite import require_finite
from pgplugins.core.numbers import positive_integer

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1.0, NAN, 2.0], "The cost is nan in 1 of 3 entries"),
        ([INF, NAN, NAN], "The cost is nan in 2 of 3 entries"),
        ([INF, -INF, 2.0], "The cost is infinite in 2 of 3 entries"),
    ],
)
def test_what_is_not_finite_is_counted(values, words):
    with pytest.raises(pg.PgpluginsError, match=words):
        require_finite(torch.tensor(values), "The cost")


@pytest.mark.parametrize("value", [torch.ones(3), torch.empty(0), torch.tensor([1, 2])])
def test_finite_values_pass(value):
    require_finite(value, "The cost")


@pytest.mark.parametrize("value", [0, -3, 2.5, 2.0, "4", None, True])
def test_counts_are_positive_integers(value):
    with pytest.raises(pg.PgpluginsError, match=f"rows={value!r}"):
        positive_integer(value, "rows")


@pytest.mark.parametrize("value", [1, 7])
def test_positive_integers_pass(value):
    positive_integer(value, "rows")
