"""What a distribution lacks that an estimator needs, in words."""

import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Binomial,
    Categorical,
    Independent,
    LogNormal,
    Normal,
    Poisson,
)

import pgplugins as pg
from pgplugins.core.fit import misfit, require_fit, suggestion
from pgplugins.core.parts import describe, element

NORMAL = Normal(torch.zeros(3), 1.0)
BERNOULLI = Bernoulli(torch.full((3,), 0.5))


@pytest.mark.parametrize("name", ["reparameterized", "hybrid"])
def test_pathwise_estimators_need_rsample(name):
    with pytest.raises(pg.PgpluginsError) as caught:
        require_fit(pg.estimator(name), BERNOULLI, "At site 'z': ")
    message = str(caught.value)
    assert message.startswith("At site 'z': ")
    for word in (name, "Bernoulli", "rsample", "enumerate", "score_function"):
        assert word in message
    assert '"reparameterized" or' not in message


def test_enumerate_needs_a_finite_support():
    with pytest.raises(pg.PgpluginsError) as caught:
        require_fit(pg.estimator("enumerate"), NORMAL)
    for word in ("Normal", "enumerate", "reparameterized", "score_function"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "dist",
    [
        BERNOULLI,
        Independent(BERNOULLI, 1),
        Independent(Independent(Bernoulli(torch.full((2, 3), 0.5)), 1), 1),
        Categorical(torch.ones(4)),
        Binomial(3, torch.tensor(0.3)),
    ],
    ids=describe,
)
def test_enumerate_sees_through_to_event(dist):
    assert misfit(pg.estimator("enumerate"), dist) is None


def test_a_support_that_is_infinite_is_refused():
    assert "Poisson" in misfit(pg.estimator("enumerate"), Poisson(torch.tensor(2.0)))


def test_the_score_function_fits_whatever_has_a_density():
    for dist in (NORMAL, BERNOULLI, Poisson(torch.tensor(2.0))):
        assert misfit(pg.estimator("score_function"), dist) is None


@pytest.mark.parametrize(
    ("dist", "names"),
    [
        (NORMAL, ["reparameterized", "score_function"]),
        (Independent(BERNOULLI, 1), ["enumerate", "score_function"]),
        (Poisson(torch.tensor(2.0)), ["score_function"]),
    ],
    ids=str,
)
def test_what_is_suggested_fits(dist, names):
    text = suggestion(dist)
    assert [n for n in pg.available() if f'"{n}"' in text] == sorted(names)
    for name in names:
        assert misfit(pg.estimator(name), dist) is None


def test_descriptions_show_what_is_wrapped():
    assert describe(Independent(NORMAL, 1)) == "Independent(Normal)"
    assert describe(LogNormal(0.0, 1.0)) == "LogNormal(Normal)"
    assert describe(NORMAL) == "Normal"


def test_the_element_of_an_event_is_below_every_to_event():
    nested = Independent(Independent(Bernoulli(torch.full((2, 3), 0.5)), 1), 1)
    assert type(element(nested)) is Bernoulli
