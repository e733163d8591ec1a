"""Every argument of Trace_ELBO is taken and means the same, or is refused."""

import inspect
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO

import pgplugins as pg
from tests.infer.same import assert_same, ours, step


def model():
    with pyro.plate("N", 3):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=torch.tensor([0.1, 0.7, -1.0]))


def guide():
    loc = pyro.param("loc", torch.tensor([0.3, 0.1, -0.2]))
    with pyro.plate("N", 3):
        pyro.sample("z", dist.Normal(loc, 0.7))


def test_the_signature_starts_with_that_of_trace_elbo():
    theirs = list(inspect.signature(Trace_ELBO.__init__).parameters.values())
    mine = list(inspect.signature(pg.ELBO.__init__).parameters.values())
    assert [p.name for p in mine[: len(theirs)]] == [p.name for p in theirs]
    assert [p.default for p in mine[: len(theirs)]] == [p.default for p in theirs]
    assert all(p.kind is p.KEYWORD_ONLY for p in mine[len(theirs) :])


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_particles": 3},
        {"num_particles": 3, "vectorize_particles": True},
        {"num_particles": 3, "vectorize_particles": True, "max_plate_nesting": 1},
        {"num_particles": 3, "vectorize_particles": True, "max_plate_nesting": 4},
        {"num_particles": 1, "vectorize_particles": True},
        {"strict_enumeration_warning": False},
        {"retain_graph": True},
    ],
    ids=str,
)
def test_taken(arguments):
    mine, theirs = ours(**arguments), Trace_ELBO(**arguments)
    assert_same(step(mine, model, guide), step(theirs, model, guide))
    assert mine.max_plate_nesting == theirs.max_plate_nesting


def test_the_old_name_of_max_plate_nesting_is_taken_with_its_warning():
    with pytest.warns(DeprecationWarning, match="max_plate_nesting"):
        elbo = pg.ELBO(max_iarange_nesting=2)
    assert elbo.max_plate_nesting == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"ignore_jit_warnings": True}, "JitTrace_ELBO"),
        ({"jit_options": {"check_trace": True}}, "JitTrace_ELBO"),
        ({"jit_options": {}}, "JitTrace_ELBO"),
        ({"tail_adaptive_beta": -0.5}, "TraceTailAdaptive_ELBO"),
        ({"num_particles": 0}, "num_particles=0"),
        ({"num_particles": 2.0}, r"num_particles=2\.0"),
        ({"num_particles": True}, "num_particles=True"),
        ({"dependencies": "graph"}, "'provenance', 'plates', 'order'"),
    ],
    ids=str,
)
def test_refused(arguments, reason):
    with pytest.raises(pg.PgpluginsError, match=reason):
        pg.ELBO(**arguments)


def test_retain_graph_keeps_the_graph_and_the_default_frees_it():
    shared = torch.tensor(0.5, requires_grad=True)
    doubled = shared.exp()

    def guide():
        pyro.sample("z", dist.Normal(doubled.expand(3), 0.7).to_event(1))

    def model():
        pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))

    pg.ELBO(retain_graph=True).loss_and_grads(model, guide)
    pg.ELBO().loss_and_grads(model, guide)
    with pytest.raises(RuntimeError, match="second time"):
        pg.ELBO().loss_and_grads(model, guide)


def test_max_plate_nesting_is_guessed_only_where_it_is_needed():
    runs = []

    def counted():
        runs.append(1)
        guide()

    for arguments, wanted in (
        ({}, 1),
        ({"num_particles": 2}, 2),
        ({"num_particles": 2, "vectorize_particles": True}, 2),
        (
            {
                "num_particles": 2,
                "vectorize_particles": True,
                "max_plate_nesting": 1,
            },
            1,
        ),
    ):
        runs.clear()
        elbo = pg.ELBO(**arguments)
        elbo.loss_and_grads(model, counted)
        assert len(runs) == wanted, arguments
        runs.clear()
        elbo.loss_and_grads(model, counted)
        assert len(runs) == (2 if arguments == {"num_particles": 2} else 1)


def test_enumeration_guesses_the_nesting_once():
    def model():
        pyro.sample("a", dist.Bernoulli(0.3))
        with pyro.plate("N", 2, dim=-2):
            pyro.sample("b", dist.Bernoulli(torch.tensor(0.4)))

    def guide():
        p = pyro.param("p", torch.tensor(0.2))
        pyro.sample("a", dist.Bernoulli(logits=p))
        with pyro.plate("N", 2, dim=-2):
            pyro.sample("b", dist.Bernoulli(logits=-p))

    guessed = pg.ELBO(estimators="enumerate")
    told = pg.ELBO(estimators="enumerate", max_plate_nesting=2)
    assert_same(step(guessed, model, guide), step(told, model, guide))
    assert guessed.max_plate_nesting == 2


def test_no_warning_where_trace_elbo_has_none():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(pg.ELBO(num_particles=2, vectorize_particles=True), model, guide)


def test_another_choice_of_estimators_keeps_the_settings_and_shares_no_state():
    def model():
        pyro.sample("z", dist.Bernoulli(0.3))

    def guide():
        pyro.sample("z", dist.Bernoulli(logits=pyro.param("l", torch.tensor(0.1))))

    elbo = pg.IWELBO(num_particles=3, vectorize_particles=True, estimators="hybrid")
    other = elbo.with_estimators("score_function")
    other.loss_and_grads(model, guide)
    assert type(other) is pg.IWELBO and other.num_particles == 3
    assert {k: e.name for k, e in other.estimators_met().items()} == {
        "z": "score_function"
    }
    assert elbo.estimators_met() == {}
