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
from pgplugins.core.features import weak_derivative
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


class Doubled(Poisson):
    """Another law than the one that it is derived from: twice its draws."""

    def sample(self, sample_shape=()):
        return 2 * super().sample(torch.Size(sample_shape))

    def log_prob(self, value):
        return super().log_prob(value / 2)


class Renamed(Poisson):
    """The same law."""


@pytest.mark.parametrize("name", ["measure_valued", "finite_difference"])
def test_a_law_of_its_own_does_not_inherit_what_a_family_offers(name):
    """Else ``auto`` takes the gradient of a Poisson, 8.6, for this one's 20.0."""
    rate = torch.tensor(0.3, requires_grad=True).exp()
    estimator = pg.estimator(name)
    law = Doubled(rate, validate_args=False)
    for found in (misfit(estimator, law), misfit(pg.estimator("disarm"), law)):
        assert "Doubled has no" in found
    assert "log_prob of its own" in misfit(estimator, law)
    assert misfit(estimator, Renamed(rate)) is None
    law = Independent(Doubled(rate.expand(2), validate_args=False), 1)
    assert misfit(estimator, law).startswith("Independent(Doubled) has no")


def test_a_law_of_its_own_may_register_an_offer():
    rate = torch.tensor(1.3, requires_grad=True)

    class Registered(Doubled):
        pass

    weak_derivative.register(Registered)(weak_derivative._offers[Poisson])
    assert misfit(pg.estimator("measure_valued"), Registered(rate)) is None
    assert misfit(pg.estimator("measure_valued"), Doubled(rate)) is not None
