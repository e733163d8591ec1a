"""What turns a tracked value into a Python value, and what only looks as if it did."""

import copy
import io
import pickle

import pyro.distributions as pyro_dist
import pytest
import torch
from torch import distributions as td

import pgplugins as pg
from pgplugins.core.provenance import Tracker, sources_of_value, track
from pgplugins.core.watch import Watch


@pytest.fixture
def tracker():
    return Tracker()


def tracked(tracker, value=(1.0, 2.0), **kind):
    return track(torch.tensor(value), tracker, tracker.source("z", **kind))


def branch(x):
    return 1 if x[0] > 0 else 0


ESCAPES = {
    "bool": lambda x: bool(x[0]),
    "if": branch,
    "not": lambda x: not x[0],
    "and": lambda x: x[0] and x[1],
    "all": lambda x: bool((x > 0).all()),
    "float": lambda x: float(x[0]),
    "int": lambda x: int(x[0]),
    "index": lambda x: [10, 20, 30][x.long()[0]],
    "range": lambda x: list(range(x.long()[1])),
    "item": lambda x: x[0].item(),
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "numpy of an expression": lambda x: (2 * x).detach().numpy(),
    "array protocol": lambda x: __import__("numpy").asarray(x),
    "equal": lambda x: torch.equal(x, torch.zeros(2)),
    "allclose": lambda x: torch.allclose(x, torch.zeros(2)),
    "is_nonzero": lambda x: torch.is_nonzero(x[0]),
    "nonzero": lambda x: (x > 1).nonzero(),
    "where with one argument": lambda x: torch.where(x > 1),
    "masked select": lambda x: x.masked_select(x > 1),
    "mask index": lambda x: torch.zeros(2)[x > 1],
    "unique": lambda x: x.unique(),
    "bincount": lambda x: x.long().bincount(),
    "repeat_interleave": lambda x: torch.ones(2).repeat_interleave(x.long()),
    "max of Python": lambda x: max(x[0], x[1]),
    "in": lambda x: 3.0 in x,
    "format with a number": lambda x: f"{x[0].item():.2f}",
    "a constraint, checked by the program": lambda x: bool(
        td.constraints.positive.check(x).all()
    ),
    "a simplex, checked by the program": lambda x: bool(
        td.constraints.simplex.check(x)
    ),
    "pickle": pickle.dumps,
    "copy.copy": copy.copy,
    "torch.save": lambda x: torch.save(x, io.BytesIO()),
}


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)
def test_a_python_value_makes_all_that_follows_downstream(escape, tracker):
    x = tracked(tracker)
    escape(x)
    assert tracker.names_of(tracker.escaped) == ["z"]


NO_ESCAPES = {
    "shape": lambda x: x.shape,
    "size": lambda x: x.size(0),
    "len": len,
    "dim": lambda x: x.dim(),
    "numel": lambda x: x.numel(),
    "dtype": lambda x: x.dtype,
    "device": lambda x: x.device,
    "is_floating_point": lambda x: x.is_floating_point(),
    "requires_grad": lambda x: x.requires_grad,
    "hash": hash,
    "isinstance": lambda x: isinstance(x, torch.Tensor),
    "iteration over a known number": lambda x: list(x),
    "unpacking": lambda x: (lambda first, second: first)(*x),
    "is None": lambda x: x is None,
    "broadcast_shapes": lambda x: torch.broadcast_shapes(x.shape, (3, 1)),
    "integer index": lambda x: x[0],
    "validation": lambda x: td.Normal(x, 1.0, validate_args=True),
    "validation of a scale": lambda x: td.Normal(0.0, x, validate_args=True),
    "validation of a simplex": lambda x: td.Categorical(
        probs=x / x.sum(), validate_args=True
    ),
    "validation of a matrix": lambda x: td.MultivariateNormal(
        x, torch.eye(2), validate_args=True
    ),
    "validation of a value": lambda x: td.Normal(0.0, 1.0, validate_args=True).log_prob(
        x
    ),
    "validation of counts": lambda x: td.Poisson(3.0, validate_args=True).log_prob(x),
    "validation by Pyro": lambda x: (
        pyro_dist.Normal(x, 1.0, validate_args=True)
        .to_event(1)
        .log_prob(torch.zeros(2))
    ),
    "validation of a mixture": lambda x: td.MixtureSameFamily(
        td.Categorical(logits=x), td.Normal(x, 1.0), validate_args=True
    ).log_prob(torch.tensor(0.3)),
}


@pytest.mark.parametrize("look", NO_ESCAPES.values(), ids=NO_ESCAPES)
def test_what_does_not_depend_on_the_value_is_no_escape(look, tracker):
    look(tracked(tracker))
    assert tracker.escaped == 0


def test_only_the_sources_of_what_escaped_escape(tracker):
    x, y = tracked(tracker), tracked(tracker)
    bool((x > 0).any())
    assert tracker.escaped == sources_of_value(x)
    assert tracker.escaped & sources_of_value(y) == 0


def test_an_escape_carries_all_sources_of_a_mixture(tracker):
    x, y = tracked(tracker), tracked(tracker)
    float((x * y).sum())
    assert tracker.escaped == sources_of_value(x) | sources_of_value(y)


def test_a_value_with_several_rows_cannot_escape(tracker):
    x = tracked(tracker, many_rows=True)
    with pytest.raises(pg.PgpluginsError) as caught:
        branch(x)
    for word in ("'z'", "torch.where", "score_function"):
        assert word in str(caught.value)


def test_a_value_that_merely_stands_beside_one_with_rows_may(tracker):
    tracked(tracker, many_rows=True)
    y = tracked(tracker)
    assert branch(y) == 1
    assert tracker.escaped == sources_of_value(y)


def test_what_is_unpickled_is_a_plain_tensor(tracker):
    again = pickle.loads(pickle.dumps(tracked(tracker)))
    assert type(again) is torch.Tensor
    assert again.tolist() == [1.0, 2.0]


def test_a_vmapped_function_escapes_rather_than_loses_its_sources(tracker):
    x = tracked(tracker)
    with Watch(tracker):
        torch.vmap(lambda v: v * 2)(x)
    assert tracker.escaped == sources_of_value(x)
