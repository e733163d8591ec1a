"""Every way in which a value passes its sources on."""

import copy
import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MultivariateNormal, Normal

from pgplugins.core.provenance import Tracker, plain, sources_of_value, track
from pgplugins.core.state import sources_of_state

PLAIN = torch.tensor([[2.0, 1.0], [0.5, 3.0]])


@pytest.fixture
def tracker():
    return Tracker()


@pytest.fixture
def a(tracker):
    return track(PLAIN.clone(), tracker, tracker.source("a"))


@pytest.fixture
def b(tracker, a):
    return track(PLAIN.clone() + 1, tracker, tracker.source("b"))


A, B = 1, 2
# name -> (operation on two tracked tensors, sources of its result)
OPERATIONS = {
    "unary": (lambda a, b: a.exp(), A),
    "binary": (lambda a, b: a + b, A | B),
    "reflected": (lambda a, b: 1.0 - a, A),
    "plain on the left": (lambda a, b: PLAIN * a, A),
    "comparison": (lambda a, b: a > 0, A),
    "reduction": (lambda a, b: a.sum(-1), A),
    "matmul": (lambda a, b: PLAIN @ b, B),
    "einsum": (lambda a, b: torch.einsum("ij,jk->ik", a, b), A | B),
    "stack of a list": (lambda a, b: torch.stack([PLAIN, b]), B),
    "cat of a tuple": (lambda a, b: torch.cat((a, b)), A | B),
    "where": (lambda a, b: torch.where(a > 0, b, PLAIN), A | B),
    "where scalars": (lambda a, b: torch.where(a > 0, 1.0, 0.0), A),
    "indexing": (lambda a, b: a[0], A),
    "indexing by a tracked integer": (lambda a, b: PLAIN[(b > 9).long()], B),
    "indexing in a tuple": (lambda a, b: PLAIN[:, (b[0] > 9).long()], B),
    "gather": (lambda a, b: a.gather(0, (b > 9).long()), A | B),
    "view": (lambda a, b: a.reshape(-1), A),
    "transpose property": (lambda a, b: a.T, A),
    "dtype": (lambda a, b: a.double(), A),
    "to": (lambda a, b: a.to(torch.float64), A),
    "detach": (lambda a, b: a.detach(), A),
    "clone": (lambda a, b: a.clone(), A),
    "keyword": (lambda a, b: torch.add(input=PLAIN, other=b), B),
    "keyword list": (lambda a, b: torch.cat(tensors=[PLAIN, b]), B),
    "factory like": (lambda a, b: torch.zeros_like(a), A),
    "random like": (lambda a, b: torch.randn_like(a), A),
    "new": (lambda a, b: a.new_zeros(3), A),
    "functional": (lambda a, b: torch.nn.functional.softplus(b), B),
    "linear": (lambda a, b: torch.nn.functional.linear(PLAIN, a), A),
    "module": (lambda a, b: torch.nn.Linear(2, 3)(a), A),
    "part of many": (lambda a, b: a.max(0).values, A),
    "other part of many": (lambda a, b: a.sort().indices, A),
    "unbind": (lambda a, b: a.unbind(0)[1], A),
    "split": (lambda a, b: a.split(1)[0], A),
    "iteration": (lambda a, b: next(iter(b)), B),
    "linear algebra": (lambda a, b: torch.linalg.cholesky(a @ a.T), A),
    "eigenvalues": (lambda a, b: torch.linalg.eigh(a @ a.T).eigenvalues, A),
    "meshgrid": (lambda a, b: torch.meshgrid(a[0], b[0], indexing="ij")[0], A | B),
    "broadcast": (lambda a, b: torch.broadcast_tensors(a, b)[1], A | B),
    "lerp": (lambda a, b: torch.lerp(PLAIN, a, b), A | B),
    "deepcopy": (lambda a, b: copy.deepcopy(a), A),
    "log density at": (lambda a, b: Normal(0.0, 1.0).log_prob(a), A),
    "log density with": (lambda a, b: Normal(a, b.exp()).log_prob(PLAIN), A | B),
    "draw": (lambda a, b: Normal(a, 1.0).sample(), A),
    "attached draw": (lambda a, b: Normal(a, 1.0).rsample(), A),
    "categorical": (lambda a, b: Categorical(logits=a).sample(), A),
    "multivariate": (
        lambda a, b: MultivariateNormal(a[0], torch.eye(2)).rsample(),
        A,
    ),
    "in place": (lambda a, b: a.mul_(2.0), A),
    "in place operator": (lambda a, b: a.__iadd__(1.0), A),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_sources_are_passed_on_and_nothing_escapes(name, tracker, a, b):
    operation, wanted = OPERATIONS[name]
    found = operation(a, b)
    assert sources_of_value(found) == wanted
    assert tracker.escaped == 0


RANDOM = {
    "random like",
    "module",
    "draw",
    "attached draw",
    "categorical",
    "multivariate",
}


@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - RANDOM))
def test_the_value_is_the_one_without_tracking(name, a, b):
    operation, _ = OPERATIONS[name]
    bare = operation(PLAIN.clone(), PLAIN.clone() + 1)
    found = operation(a, b)
    assert found.dtype == bare.dtype
    torch.testing.assert_close(plain(found), bare)


def test_a_tensor_written_into_knows_its_new_source(tracker, a):
    a[0, 0] = 1.0
    assert (sources_of_value(a), tracker.escaped) == (A, 0)


@pytest.mark.parametrize(
    "write",
    [
        lambda target, a: target.__setitem__(0, a[0]),
        lambda target, a: target.copy_(a),
        lambda target, a: target.add_(a),
        lambda target, a: target.__iadd__(a),
        lambda target, a: torch.exp(a, out=target),
        lambda target, a: target.masked_fill_(a > 1, 0.0),
        lambda target, a: target.index_add_(0, torch.tensor([0, 1]), a),
    ],
)
def test_a_write_into_a_plain_tensor_escapes(write, tracker, a):
    target = torch.zeros(2, 2)
    view = target[0]  # knows nothing, and holds the value all the same
    write(target, a)
    assert tracker.escaped == A
    assert sources_of_value(view) == 0


def test_a_write_of_one_source_into_another_escapes_the_new_one(tracker, a, b):
    a += b
    assert sources_of_value(a) == A | B
    assert tracker.escaped == B


VIEWS = {
    "of a plain tensor": (lambda p, a: p.view_as(a).add_(1.0), A),
    "of that view": (lambda p, a: p.view_as(a)[0].add_(1.0), A),
    "detached": (lambda p, a: p.view_as(a).detach().add_(1.0), A),
    "its data": (lambda p, a: p.view_as(a).data[0].add_(1.0), A),
    "element set": (lambda p, a: p.view_as(a).__setitem__(0, 1.0), A),
    "at a position": (lambda p, a: p[(a[0, 0] > 9).long()].fill_(1.0), A),
    "of a result": (lambda p, a: (a + 1)[0].add_(1.0), 0),
    "of a draw": (lambda p, a: a[0].add_(1.0), 0),
    "of a draw, detached": (lambda p, a: a.detach()[0].add_(1.0), 0),
    "of a copy": (lambda p, a: p.view_as(a).clone()[0].add_(1.0), 0),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_write_into_a_view_is_a_write_into_its_base(name, tracker, a):
    write, escapes = VIEWS[name]
    write(PLAIN.clone(), a)
    assert tracker.escaped == escapes


def test_a_view_in_inference_mode_does_not_say_what_it_is_a_view_of(tracker, a):
    with torch.inference_mode():
        PLAIN.clone().view_as(a).add_(1.0)
    assert tracker.escaped == A


def test_gradients_pass_through(tracker):
    leaf = torch.tensor(0.7, requires_grad=True)
    value = track(leaf.exp(), tracker, tracker.source("a"))
    loss = plain((value**2).sum())
    (found,) = torch.autograd.grad(loss, leaf)
    assert found.item() == pytest.approx(2 * math.exp(1.4))


def test_values_of_a_run_that_is_over_are_plain(tracker, a):
    tracker.close()
    assert sources_of_value(a) == 0
    assert sources_of_value(a + 1) == 0
    assert sources_of_value(torch.stack([a, a])) == 0
    assert bool((a > 0).all())
    assert tracker.escaped == 0


def test_names_follow_the_order_of_drawing(tracker, a, b):
    assert tracker.names_of(sources_of_value(a * b)) == ["a", "b"]
    assert tracker.names_of(B) == ["b"]
    assert tracker.names_of(0) == []


def test_a_distributions_attributes_show_its_sources(a, b):
    assert sources_of_state(Normal(a, 1.0)) == A
    assert sources_of_state(Independent(Normal(a, b.exp()), 1)) == A | B
    assert sources_of_state(Normal(PLAIN, 1.0)) == 0


def test_an_attribute_that_cannot_be_looked_into_is_said_so(a):
    law = Normal(PLAIN, 1.0)
    law.closure = lambda: a
    assert sources_of_state(law) is None
