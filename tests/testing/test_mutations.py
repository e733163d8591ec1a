"""The built-in estimators, broken by an edit of their source, do not pass."""

import inspect

import pytest

import pgplugins as pg
from pgplugins.core import baselines
from pgplugins.plugins import estimator_class

EDITS = [
    (
        "score_function",
        "Draw.of_row(dist, sample(dist))",
        "Draw.of_row(dist, dist.rsample() if dist.has_rsample else dist.sample())",
    ),
    ("score_function", "else cost - guess", "else guess"),
    (
        "score_function",
        "term = draw.score_term(cost if",
        "term = 0.99 * draw.score_term(cost if",
    ),
    ("reparameterized", "rsample(dist))", "rsample(dist) + 0.01)"),
    ("reparameterized", "rsample(dist))", "rsample(dist).detach())"),
    ("enumerate", "draw.log_prob.exp()", "draw.log_prob.exp().detach()"),
    ("enumerate", "draw.log_prob.exp()", "(1.001 * draw.log_prob).exp()"),
    ("hybrid", "f.unsqueeze(-1) * score - path", "f.unsqueeze(-1) * score"),
    ("hybrid", "score = own.score(draw)", "score = own.score(draw).abs()"),
]


def mutant(name, old, new):
    cls = estimator_class(name)
    source = inspect.getsource(inspect.getmodule(cls))
    assert old in source
    space = {"__name__": f"mutant_{name}"}
    exec(compile(source.replace(old, new), f"<mutant of {name}>", "exec"), space)
    return space[cls.__name__]()


@pytest.mark.parametrize(("name", "old", "new"), EDITS)
def test_an_edit_is_caught(name, old, new):
    with pytest.raises(AssertionError, match="failed for estimator"):
        pg.testing.check_estimator(mutant(name, old, new))


def test_a_baseline_of_all_draws_is_caught(monkeypatch):
    def mean_of_all(cost, dim):
        return cost.mean(dim, keepdim=True).expand_as(cost)

    monkeypatch.setattr(baselines, "leave_one_out_mean", mean_of_all)
    with pytest.raises(AssertionError, match=r"_n2\]|unbiased_gradient"):
        pg.testing.check_estimator("score_function")


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
