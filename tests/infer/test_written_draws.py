"""A draw that the program writes into has another density: an error, not a number.

Unrefused, the score of ``x += 1`` on N(0.7, 1) has the mean 7.3 for the cost x squared,
where 3.4 is exact.
"""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg

ESTIMATORS = ["score_function", "reparameterized", "hybrid", "enumerate", "disarm"]


def law(estimator):
    loc = pyro.param("loc", torch.tensor(0.3))
    if estimator in ("enumerate", "disarm"):
        return dist.Bernoulli(logits=loc)
    return dist.Normal(loc, 1.0)


WRITES = {
    "add": lambda x: x.add_(1),
    "operator": lambda x: x.__iadd__(1),
    "element": lambda x: x.__setitem__(..., 0.0),
    "view": lambda x: x.view(-1).mul_(2),
    "out": lambda x: torch.exp(x.detach(), out=x.detach()),
}


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_program_that_writes_into_a_draw_is_refused(estimator, write):
    def program():
        x = pyro.sample("x", law(estimator))
        write(x)
        pg.cost("c", x**2)

    with pytest.raises(
        pg.PgpluginsError, match=r"draw of site 'x'.*clone|depends on site"
    ):
        pg.ExpectedCost(estimators=estimator)(program)


@pytest.mark.parametrize("in_model", [True, False])
def test_a_model_or_guide_that_writes_into_a_draw_is_refused(in_model):
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        if in_model:
            x += 1

    def guide():
        x = pyro.sample("x", law("score_function"))
        if not in_model:
            x += 1

    for estimator in ("score_function", "reparameterized"):
        with pytest.raises(pg.PgpluginsError, match="draw of site 'x'"):
            pg.ELBO(estimators=estimator).loss(model, guide)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_cost_that_writes_into_its_samples_is_refused(estimator):
    with pytest.raises(pg.PgpluginsError, match=r"pg\.expectation.*clone"):
        pg.expectation(
            lambda x: x.add_(1) ** 2, law(estimator), estimator=estimator, num_samples=4
        )


def test_a_copy_may_be_written_into():
    def program():
        x = pyro.sample("x", law("score_function")).clone()
        x += 1
        pg.cost("c", x**2)

    pg.ExpectedCost(estimators="score_function")(program).backward()
