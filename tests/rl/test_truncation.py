"""Truncated paths: where they are cut, who is told, and what is not touched."""

from typing import NamedTuple

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from pgplugins import rl
from tests.statistics import assert_mean, gradients, parameter

STEPS, EVERY = 7, 3


def walk(push, every=EVERY):
    """x_{t+1} = x_t + u_t with u_t ~ N(push, 1) and cost x_{t+1} t: linear."""

    def program():
        x = torch.zeros((), dtype=torch.float64)
        for t in range(STEPS):
            if every:
                x = rl.truncate(x, t, every=every)
            x = x + pyro.sample(f"u{t}", dist.Normal(push, 1.0))
            pg.cost(f"c{t}", t * x)

    return program


def exact(every):
    """A push at s moves every cost from s on; a cut path those before the next cut."""
    total = sum(
        t
        for s in range(STEPS)
        for t in range(s, STEPS)
        if not every or s // every == t // every
    )
    return torch.tensor([total], dtype=torch.float64)


@pytest.mark.parametrize("every", [0, 1, 2, EVERY, STEPS])
def test_a_path_ends_at_the_next_cut(every):
    push = parameter(0.3)
    loss = pg.ExpectedCost(estimators="reparameterized", num_particles=4)(
        walk(push, every)
    )
    (found,) = torch.autograd.grad(loss, push)
    torch.testing.assert_close(found.reshape(1), exact(every))


def test_scores_see_behind_the_cut():
    push = parameter(0.3)
    objective = pg.ExpectedCost(estimators="score_function", num_particles=2000)
    found = gradients(lambda: objective(walk(push)), [push], 100)
    assert_mean(found, exact(0))


def test_compare_marks_what_was_cut():
    push = parameter(0.3)
    found = pg.compare(
        walk(push),
        ["score_function", "reparameterized"],
        params={"push": push},
        num_particles=50,
        num_runs=100,
        num_warmup=2,
        seed=0,
    )
    score, path = found.rows
    assert score.unbiased and not path.unbiased
    assert found.best == "score_function"
    assert "biased by design" in str(found.table())
    assert any("pg.rl.truncate" in note for note in found.notes)


def test_compare_without_a_cut_marks_nothing():
    push = parameter(0.3)
    found = pg.compare(
        walk(push, 0),
        ["score_function", "reparameterized"],
        params={"push": push},
        num_particles=50,
        num_runs=20,
        num_warmup=2,
        seed=0,
    )
    assert all(row.unbiased for row in found.rows)


def test_compare_needs_a_reference_if_every_path_is_cut():
    push = parameter(0.3)

    def program():
        x = rl.truncate(push * 1.0, 1, every=1) + push
        pg.cost("c", x * pyro.sample("u", dist.Normal(push, 1.0)))

    with pytest.raises(pg.PgpluginsError, match="reference="):
        pg.compare(
            program,
            ["score_function"],
            params={"push": push},
            num_runs=20,
            num_warmup=1,
        )


@pytest.mark.parametrize("name", ["hybrid", "doubly_reparameterized"])
def test_estimators_that_need_the_whole_path_are_refused(name):
    push = parameter(0.3)
    with pytest.raises(pg.PgpluginsError, match="'u0', 'u1', 'u2' and 4 more"):
        pg.ExpectedCost(estimators=name, num_particles=4)(walk(push))


@pytest.mark.parametrize("name", ["lax", "total_propagation", "antithetic"])
def test_estimators_that_do_not_are_not(name):
    push = parameter(0.3)
    estimators = {"*": "reparameterized", "u5": name}
    objective = pg.ExpectedCost(
        estimators=estimators, num_particles=4, max_plate_nesting=0
    )
    assert objective(walk(push)).isfinite()


class State(NamedTuple):
    position: torch.Tensor
    rest: dict


def test_states_of_several_parts():
    leaf = parameter(1.0)
    state = State(2 * leaf, {"a": [3 * leaf, leaf.detach()], "b": (leaf * 1,)})
    assert rl.truncate(state, 0, every=2) is state
    assert rl.truncate(state, 3, every=2) is state
    cut = rl.truncate(state, 4, every=2)
    assert type(cut) is State and cut.position == 2 and cut.rest["a"][0] == 3
    parts = [cut.position, *cut.rest["a"], *cut.rest["b"]]
    assert not any(part.requires_grad for part in parts)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: rl.truncate(torch.zeros(()), -1, every=2), "step=-1"),
        (lambda: rl.truncate(torch.zeros(()), 0, every=0), "every=0"),
        (lambda: rl.truncate([0.5], 1, every=2), "float"),
    ],
)
def test_refused_in_words(call, word):
    with pytest.raises(pg.PgpluginsError, match=word):
        call()
