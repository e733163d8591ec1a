"""Families in Pyro programs: costs, ELBOs, plates, masks, expanded and joined events.

The same comparison as in ``test_gradients.py``, through other fronts.
"""

import dataclasses

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from tests.families.catalogue import CATALOGUE
from tests.families.measure import ESTIMATORS, measure

ROWS = {family.label: family for family in CATALOGUE}
MASK = torch.tensor([True, False, True])


def costs(family, estimator, samples):
    """The cost of a program's site."""
    event_dim = len(family.law().event_shape)
    objective = pg.ExpectedCost(
        estimators=estimator, num_particles=samples, vectorize_particles=True
    )

    def loss(values):
        def program():
            x = pyro.sample("x", family.build(**values))
            pg.cost("cost", family.cost(x, event_dim))

        return objective(program)

    return loss


def elbo(family, estimator, samples):
    """The divergence from a law of the same kind, twice and once behind a mask."""
    objective = pg.ELBO(
        estimators=estimator, num_particles=samples, vectorize_particles=True
    )
    prior = other(family)

    def loss(values):
        def model():
            with pyro.plate("plate", 3):
                pyro.sample("x", prior.expand([3]).mask(MASK))

        def guide():
            with pyro.plate("plate", 3):
                pyro.sample("x", family.build(**values).expand([3]).mask(MASK))

        return objective.differentiable_loss(model, guide) / 2

    return loss


def joined(family, estimator, samples):
    """Three of them in one event, whose costs are averaged."""
    objective = pg.ExpectedCost(
        estimators=estimator, num_particles=samples, vectorize_particles=True
    )

    def loss(values):
        def program():
            law = family.build(**values).expand([3]).to_event(1)
            x = pyro.sample("x", law)
            pg.cost("cost", family.cost(x, len(law.event_shape) - 1).mean(-1))

        return objective(program)

    return loss


def other(family):
    """The law at other parameters."""
    values = {k: v.detach() for k, v in family.parameters().items()}
    return family.build(**{k: 0.5 * v + 0.6 for k, v in values.items()})


def diverging(family):
    """The family with the cost that an ELBO has: log q, held, less log p."""
    held = family.build(**{k: v.detach() for k, v in family.parameters().items()})
    prior = other(family)
    return dataclasses.replace(
        family, own_cost=lambda x: held.log_prob(x) - prior.log_prob(x)
    )


def hold(family, front, **changes):
    family = dataclasses.replace(family, **changes)
    truth = family.truth(family)
    for seed, name in enumerate(ESTIMATORS):
        found = measure(family, name, truth, seed, front)
        assert found.refusal is None, f"{name}: {found.refusal}"
        assert found.distance < 1, f"{name} is {found.distance:.2f} of the limit off"
        assert found.tenth_off > 1, f"{name}: an error of 10% would not be seen"


TRANSFORMED = [
    f"TransformedDistribution ({what})"
    for what in (
        "tanh of a Normal",
        "parameters in the transforms",
        "affine, exp",
        "sigmoid, affine",
        "stick-breaking",
    )
]


@pytest.mark.parametrize(
    "label",
    [
        "Normal",
        "Gamma",
        "RelaxedBernoulli",
        "Dirichlet",
        "MultivariateNormal (covariance_matrix)",
        "Independent (Normal)",
        "ProjectedNormal (three dimensions)",
        *TRANSFORMED,
    ],
)
def test_costs_of_a_program(label):
    hold(ROWS[label], costs)


@pytest.mark.parametrize(
    "label",
    [
        "Normal",
        "LogNormal",
        "Gumbel",
        "Gamma",
        "Independent (Normal)",
        "MultivariateNormal (scale_tril)",
        "TransformedDistribution (tanh of a Normal)",
        "TransformedDistribution (affine, exp)",
        "TransformedDistribution (sigmoid, affine)",
    ],
)
def test_an_elbo_with_plates_and_masks(label):
    hold(diverging(ROWS[label]), elbo)


@pytest.mark.parametrize(
    "label", ["Laplace", "StudentT", "Beta", "TransformedDistribution (affine, exp)"]
)
def test_joined_events(label):
    hold(ROWS[label], joined)


def test_a_planar_flow_in_an_elbo_has_a_path():
    """Its inverse is a cache's, so that only the path's own value has a density."""
    family = ROWS["TransformedDistribution (planar flow)"]
    prior = dist.Normal(torch.zeros(2).double(), 1.0).to_event(1)
    values = family.parameters()

    def model():
        pyro.sample("x", prior)

    def guide():
        pyro.sample("x", family.build(**values))

    torch.manual_seed(0)
    pg.ELBO().differentiable_loss(model, guide).backward()
    assert all(bool(v.grad.any()) for v in values.values())
    with pytest.raises(pg.PgpluginsError, match="no density at values"):
        pg.ELBO(estimators="score_function").differentiable_loss(model, guide)
