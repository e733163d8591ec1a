"""Values at mean 0 and standard deviation 1, and what that does to a gradient."""

import math

import pytest
import torch

import pgplugins as pg
from pgplugins import rl


def test_by_hand():
    # Mean 4, and squares of differences 9 + 1 + 16 over two.
    found = rl.normalized(torch.tensor([[1.0], [3.0], [8.0]], dtype=torch.float64))
    want = torch.tensor([[-3.0], [-1.0], [4.0]], dtype=torch.float64) / math.sqrt(13)
    torch.testing.assert_close(found, want)


def test_what_does_not_count_is_ignored():
    values = torch.tensor([[1.0, torch.nan, 3.0], [torch.inf, 8.0, -50.0]])
    mask = torch.tensor([[True, False, True], [False, True, False]])
    found = rl.normalized(values, mask=mask)
    want = torch.tensor([[-3.0, 0.0, -1.0], [0.0, 4.0, 0.0]]) / math.sqrt(13)
    torch.testing.assert_close(found, want)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
@pytest.mark.parametrize("count", [3, 1000])
def test_values_that_are_alike_are_zero_and_no_amplified_rounding(value, count):
    assert not rl.normalized(torch.full((count,), value)).any()


def test_values_that_differ_little_are_not_alike():
    values = 1 + 1e-3 * torch.tensor([-1.0, 0.0, 1.0])
    want = torch.tensor([-1.0, 0.0, 1.0])
    torch.testing.assert_close(rl.normalized(values), want, rtol=1e-3, atol=1e-3)


def test_it_is_detached_and_counts_are_values():
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    assert not rl.normalized(values).requires_grad
    assert rl.normalized(torch.tensor([1, 2, 3])).tolist() == [-1.0, 0.0, 1.0]


def bias(n, p=0.3):
    """Share by which a gradient is off, after its scale: n coins, cost 1 for heads.

    By enumeration of the number of heads; the scores are those of the logit.
    """
    mean = 0.0
    for heads in range(n + 1):
        costs = torch.tensor([1.0] * heads + [0.0] * (n - heads), dtype=torch.float64)
        gradient = (rl.normalized(costs) * (costs - p)).mean()
        mean += math.comb(n, heads) * p**heads * (1 - p) ** (n - heads) * gradient
    spread = math.sqrt(p * (1 - p))
    exact = p * (1 - p)
    return (mean.item() * spread - exact) / exact


def test_the_bias_is_of_order_one_over_n():
    assert bias(8) < -0.05
    for n in (64, 128, 256):
        assert bias(n) / bias(2 * n) == pytest.approx(2.0, rel=0.1)


V = torch.ones(3, 4)
REFUSED = {
    "no tensor": (lambda: rl.normalized([1.0, 2.0]), ["list", "as_tensor"]),
    "weights": (lambda: rl.normalized(V, mask=V), ["mask", "float32", "bool"]),
    "another shape": (lambda: rl.normalized(V, mask=V[0] > 0), ["(3, 4)", "(4,)"]),
    "one value": (lambda: rl.normalized(V[0, :1]), ["1 value", "two or more"]),
    "none": (lambda: rl.normalized(V, mask=V < 0), ["0 value", "two or more"]),
    "nan": (lambda: rl.normalized(V * torch.nan), ["value", "nan"]),
    "no ranks": (lambda: rl.normalized(V, distributed="nccl"), ["distributed='nccl'"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_words(name):
    call, words = REFUSED[name]
    with pytest.raises(pg.PgpluginsError) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)
