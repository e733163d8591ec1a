"""The built-in estimators, broken by an edit of their source, do not pass."""

import inspect

import pytest
import torch

import pgplugins as pg
from pgplugins.core import baselines
from pgplugins.core.algebra import score_term
from pgplugins.core.draw import Draw
from pgplugins.core.own_parameters import OwnParameters
from pgplugins.estimators.hybrid import Hybrid
from pgplugins.plugins import estimator_class
from pgplugins.testing.evidence import CheckFailed
from pgplugins.testing.registry import checks_for
from pgplugins.testing.subject import Subject

EDITS = [
    (
        "score_function",
        "Draw.of_row(dist, sample(dist))",
        "Draw.of_row(dist, dist.rsample() if dist.has_rsample else dist.sample())",
    ),
    ("score_function", "cost - guess.detach()", "guess.detach()"),
    (
        "score_function",
        "term = draw.summed_score_term(cost -",
        "term = 0.99 * draw.summed_score_term(cost -",
    ),
    ("reparameterized", "rsample(dist))", "rsample(dist) + 0.01)"),
    ("reparameterized", "rsample(dist))", "rsample(dist).detach())"),
    ("enumerate", "draw.log_prob.exp()", "draw.log_prob.exp().detach()"),
    ("enumerate", "draw.log_prob.exp()", "(1.001 * draw.log_prob).exp()"),
    ("disarm", ".detach() / 2", ".detach() / 1.9"),
    ("rebar", "relaxed = cost[2]", "relaxed = 0.9 * cost[2]"),
    ("rebar", "+ eta * path", "+ 0.9 * eta * path"),
    ("rebar", "tensor([1.0, 0.0, 0.0])", "tensor([0.5, 0.5, 0.0])"),
    ("relax", "(free - given).sum()", "free.sum()"),
    ("relax", "site.lift(f - given)", "site.lift(f - 0.5 * given)"),
    (
        "measure_valued",
        "difference_term(draw, cost)",
        "difference_term(draw, 0.9 * cost)",
    ),
    (
        "finite_difference",
        "difference_term(draw, cost)",
        "difference_term(draw, 0.9 * cost)",
    ),
    ("sum_and_sample", "score_term(rest[0] * cost[-1]", "score_term(cost[-1]"),
    ("sum_and_sample", "[exact, rest]", "[exact.detach(), rest]"),
    ("unordered_set", "ratio.reshape(shape) * (held", "(held"),
    ("unordered_set", "(held - guess)", "(held - 0.9 * guess - 0.1 * held)"),
    ("antithetic", "2 * centre - row", "2 * centre.detach() - row"),
]


def mutant(name, old, new):
    cls = estimator_class(name)
    module = inspect.getmodule(cls)
    source = inspect.getsource(module)
    assert old in source
    space = {"__name__": module.__name__}  # where dataclasses look for their types
    exec(compile(source.replace(old, new), f"<mutant of {name}>", "exec"), space)
    return space[cls.__name__]()


@pytest.mark.parametrize(("name", "old", "new"), EDITS)
def test_an_edit_is_caught(name, old, new):
    with pytest.raises(AssertionError, match="failed for estimator"):
        pg.testing.check_estimator(mutant(name, old, new))


def test_a_baseline_of_all_draws_is_caught(monkeypatch):
    of_others = Draw.others_cost

    def mean_of_all(self, cost):
        if self.credit is not None or of_others(self, cost) is None:
            return of_others(self, cost)
        return cost.detach().mean(self.particle_dim, keepdim=True).expand_as(cost)

    monkeypatch.setattr(Draw, "others_cost", mean_of_all)
    with pytest.raises(AssertionError, match=r"_n2\]|unbiased_gradient"):
        pg.testing.check_estimator("score_function")


class TwoRows(pg.Estimator):
    """Two independent draws, each other's baseline."""

    name = "two_rows"
    traits = pg.Traits(unbiased=True, needs=frozenset({"log_prob"}), cost_evaluations=2)

    def draw(self, dist):
        return pg.Draw(dist=dist, value=torch.stack([dist.sample(), dist.sample()]))

    def gradient_term(self, draw, cost):
        return draw.score_term(cost - cost.detach().flip(0)).mean(0)


def test_scores_that_meet_the_rows_of_another_site_are_caught(monkeypatch):
    """With two rows at both sites the shapes fit, and one gets no gradient."""
    pg.testing.check_estimator(TwoRows())
    monkeypatch.setattr(
        Draw, "score_term", lambda self, cost: score_term(cost, self.log_prob)
    )
    with pytest.raises(AssertionError, match="coin_beside_coin"):
        pg.testing.check_estimator(TwoRows())


def test_a_moving_average_that_has_seen_the_cost_is_caught(monkeypatch):
    read = baselines.MovingAverage.guess

    def guess(self, draw, cost):
        self.update(draw, cost)
        return read(self, draw, cost)

    monkeypatch.setattr(baselines.MovingAverage, "guess", guess)
    with pytest.raises(AssertionError):
        pg.testing.check_estimator(
            pg.estimator("score_function", baseline="moving_average")
        )


@pytest.mark.parametrize(
    "wrong",
    [
        lambda score: score.abs(),  # the columns have a mean
        lambda score: 0.5 * score,  # the differences of score and path have one
    ],
)
def test_columns_of_another_mean_than_zero_are_caught(monkeypatch, wrong):
    score = OwnParameters.score
    monkeypatch.setattr(OwnParameters, "score", lambda *given: wrong(score(*given)))
    with pytest.raises(AssertionError, match="failed for estimator"):
        pg.testing.check_estimator("hybrid")


def test_coefficients_that_have_seen_the_current_rows_are_caught(monkeypatch):
    install, read, kept = OwnParameters.correct, Hybrid.gradient_term, []

    def keep(self, correction):
        kept.append(correction)
        install(self, correction)

    def gradient_term(self, draw, cost):
        term = read(self, draw, cost)
        learn = kept[-1]

        def late(gradient, weight):
            learn(gradient, weight)
            read(self, draw, cost)
            return kept[-1](gradient, weight)

        install(draw.extra, late)
        return term

    subject = Subject(Hybrid())
    (check,) = [
        c for c in checks_for(subject) if c.name == "only_the_past_is_learned_from"
    ]
    check.run(subject, 0)
    monkeypatch.setattr(OwnParameters, "correct", keep)
    monkeypatch.setattr(Hybrid, "gradient_term", gradient_term)
    with pytest.raises(CheckFailed, match="learned from the current draws"):
        check.run(subject, 0)
