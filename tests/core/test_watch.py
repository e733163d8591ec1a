"""What the watch sees, and that it changes nothing."""

import pytest
import torch
from torch import distributions as td

from pgplugins.core.provenance import Tracker, plain, sources_of_value, track
from pgplugins.core.watch import Watch

A, B = 1, 2


@pytest.fixture
def tracker():
    return Tracker()


@pytest.fixture
def a(tracker):
    return track(torch.tensor([1.0, 2.0]), tracker, tracker.source("a"))


@pytest.fixture
def b(tracker, a):
    return track(torch.tensor([3.0, 4.0]), tracker, tracker.source("b"))


# Numbers of a and b that torch reads without asking; the sources that it hides.
HIDDEN = {
    "one": (lambda a, b: torch.full((2,), a[0]), A),
    "both": (lambda a, b: torch.add(a, 1.0, alpha=b[0]), 0),
    "beside a plain one": (lambda a, b: torch.add(torch.ones(2), 1.0, alpha=b[0]), B),
    "in a list": (lambda a, b: torch.tensor([a[0], b[0]]), A | B),
    "in place": (lambda a, b: a.add_(1.0, alpha=b[0]), B),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_the_sources_that_a_call_hides_escape(name, tracker, a, b):
    call, hidden = HIDDEN[name]
    with Watch(tracker):
        found = call(a, b)
    assert tracker.escaped == hidden
    assert sources_of_value(found) | tracker.escaped == (
        A | B if name in ("both", "in place", "in a list") else hidden
    )


@pytest.mark.parametrize("name", HIDDEN)
def test_values_are_what_they_are_without_it(name, tracker, a, b):
    call, _ = HIDDEN[name]
    bare = call(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    with Watch(tracker):
        found = call(a, b)
    assert torch.equal(plain(found), bare)


def test_plain_calls_are_left_alone(tracker, a):
    torch.manual_seed(0)
    wanted = torch.randn(3) @ torch.ones(3, 2), torch.nn.Linear(2, 2)(torch.ones(2))
    torch.manual_seed(0)
    with Watch(tracker):
        found = torch.randn(3) @ torch.ones(3, 2), torch.nn.Linear(2, 2)(torch.ones(2))
        with torch.device("meta"):
            assert torch.ones(2).is_meta
        assert not torch.ones(2).is_meta
    assert all(map(torch.equal, found, wanted))
    assert type(found[0]) is torch.Tensor
    assert tracker.escaped == 0


@pytest.mark.parametrize("around", [Watch, lambda tracker: torch.device("cpu")])
def test_validation_is_seen_through_modes(around, tracker, a):
    with around(tracker):
        law = td.Normal(a, a.exp(), validate_args=True)
        law.log_prob(torch.zeros(2))
        td.Poisson(3.0, validate_args=True).log_prob(a)
    assert tracker.escaped == 0


READS = {
    "bool": lambda x: bool(x[0] > 0),
    "item": lambda x: x[0].item(),
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "equal": lambda x: torch.equal(x, x),
    "an index": lambda x: [0, 1, 2][x.long()[0]],
    "a mask": lambda x: x[x > 0],
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: torch.where(x > 0),
}
NO_READS = {
    "arithmetic": lambda x: (x + 1).exp().sum(-1),
    "shape": lambda x: (x.shape, x.dim(), len(x), x.dtype, x.numel()),
    "parts": lambda x: x.sort(),
    "no result": lambda x: x.clone().__setitem__(0, 1.0),
    "validation": lambda x: td.Normal(x, x, validate_args=True).log_prob(x),
    "a draw": lambda x: td.Categorical(logits=x).sample(),
    "a module": lambda x: torch.nn.Linear(2, 2)(x),
    "no_grad": lambda x: torch.no_grad()(lambda: x + 1)(),
}


@pytest.mark.parametrize("name", [*READS, *NO_READS])
def test_values_of_plain_tensors_that_are_read_are_noted(name, tracker):
    with Watch(tracker) as watch:
        (READS | NO_READS)[name](torch.tensor([1.0, 2.0]))
    assert watch.values_were_read == (name in READS)
    assert tracker.escaped == 0


def test_a_transform_lets_what_it_captures_escape(tracker, a, b):
    with Watch(tracker):
        torch.func.grad(lambda t: (t * b).sum())(torch.ones(2))
    assert tracker.escaped == B


def test_it_ends_with_the_run(tracker, a):
    with Watch(tracker), pytest.raises(ZeroDivisionError):
        raise ZeroDivisionError
    torch.full((), a[0])
    assert tracker.escaped == 0
