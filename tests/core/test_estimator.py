"""Traits are checked when they are written, and the contract has its defaults."""

import dataclasses

import pytest
import torch
from torch.distributions import Normal

import pgplugins as pg
from pgplugins.core.estimator import NEEDS


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"needs": frozenset({"rsampel"})}, ["rsampel", "rsample", "log_prob"]),
        ({"own_score": "lose"}, ["lose", "keep", "drop"]),
        ({"order": 2}, ["2", "1", "any"]),
        ({"order": "all"}, ["all", "any"]),
        ({"cost_evaluations": 0}, ["0", "positive", "support"]),
        ({"cost_evaluations": 1.5}, ["1.5", "positive"]),
        ({"cost_evaluations": "many"}, ["many", "support"]),
    ],
    ids=str,
)
def test_a_trait_that_no_part_knows_is_refused(fields, words):
    with pytest.raises(pg.PgpluginsError) as caught:
        pg.Traits(unbiased=True, **fields)
    assert isinstance(caught.value, ValueError)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("need", sorted(NEEDS))
def test_every_need_is_accepted(need):
    assert pg.Traits(unbiased=True, needs=frozenset({need})).needs == {need}


@pytest.mark.parametrize(
    ("evaluations", "many"), [(1, False), (2, True), ("support", True)]
)
def test_many_rows_follow_from_the_number_of_evaluations(evaluations, many):
    traits = pg.Traits(unbiased=True, cost_evaluations=evaluations)
    assert traits.many_rows is many


def test_traits_cannot_be_changed():
    traits = pg.Traits(unbiased=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        traits.unbiased = False


def test_an_estimator_without_both_halves_cannot_be_made():
    class Half(pg.Estimator):
        name = "half"
        traits = pg.Traits(unbiased=True)

        def draw(self, dist):
            return pg.Draw(dist=dist, value=dist.sample().unsqueeze(0))

    with pytest.raises(TypeError, match="gradient_term"):
        Half()


def test_by_default_nothing_is_learnt_and_nothing_refused():
    class Plain(pg.Estimator):
        name = "plain"
        traits = pg.Traits(unbiased=True)

        def draw(self, dist):
            return pg.Draw(dist=dist, value=dist.sample().unsqueeze(0))

        def gradient_term(self, draw, cost):
            return None

    plain = Plain()
    draw = plain.draw(Normal(0.0, 1.0))
    plain.update(draw, torch.ones(1))
    assert plain.state_dict() == {}
    assert plain.refusal(draw.dist) is None
