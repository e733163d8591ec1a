"""Baselines go with one row, whose costs no other row has a share in."""

import pytest
import torch
from torch.distributions import Normal

import pgplugins as pg
from pgplugins.core import baselines

KINDS = [
    baselines.LeaveOneOut(),
    baselines.LeaveOneOutIfPossible(),
    baselines.MovingAverage(),
    baselines.Neural(),
    baselines.Given(torch.zeros(4)),
]


@pytest.mark.parametrize("baseline", KINDS, ids=lambda b: type(b).__name__)
def test_rows_that_may_depend_on_one_another_are_refused(baseline):
    class Mirrored(pg.Estimator):
        name = "mirrored"
        traits = pg.Traits(
            unbiased=True,
            needs=frozenset({"log_prob"}),
            independent_rows=False,
            cost_evaluations=2,
        )

        def draw(self, dist):
            x = dist.sample()
            return pg.Draw(dist=dist, value=torch.stack([x, 2 * dist.mean - x]))

        def gradient_term(self, draw, cost):
            return draw.score_term(cost - baseline.guess(draw, cost)).mean(0)

    loc = torch.zeros((), requires_grad=True)
    with pytest.raises(pg.PgpluginsError, match="one row; found 2 rows"):
        pg.expectation(
            lambda x: x**2, Normal(loc, 1.0), estimator=Mirrored(), num_samples=4
        )


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_cost_that_is_not_finite_leaves_the_average_as_it_is(bad):
    average = baselines.MovingAverage()
    law = Normal(torch.zeros(4), 1.0)
    draw = pg.Draw.of_row(law, law.sample())
    for cost in (5.0, bad, 5.0, bad):
        average.update(draw, torch.full((1, 4), cost))
        guess = average.guess(draw, torch.zeros(1, 4))
        torch.testing.assert_close(guess, torch.tensor(5.0))
