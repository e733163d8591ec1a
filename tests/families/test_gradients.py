"""Both gradients and the hybrid of every family against exact ones.

What is allowed, and what would be seen, is in the docstring of ``measure.py``. Families
whose density takes long are measured by ``python -m tests.families``.
"""

import math

import pytest
import torch

import pgplugins as pg
from tests.families.catalogue import CATALOGUE
from tests.families.measure import COMPARISONS, ESTIMATORS, measure, refusal_of

MEASURED = [family for family in CATALOGUE if family.truth is not None]
SLOW = {"SineBivariateVonMises", "Stable", "StableWithLogProb"}


def test_few_families_are_left_to_the_command():
    assert {family.label for family in CATALOGUE if family.slow} == SLOW


def test_a_family_without_an_exact_gradient_is_refused_or_has_no_parameters():
    for family in CATALOGUE:
        if family.truth is None and family.exported != "TruncatedPolyaGamma":
            assert all(refusal_of(family, name) for name in ESTIMATORS), family.label


def test_the_budget_covers_the_catalogue():
    coordinates = sum(
        math.prod(value.shape)
        for family in CATALOGUE
        for value in family.parameters().values()
    )
    assert len(ESTIMATORS) * coordinates <= COMPARISONS


@pytest.mark.filterwarnings("ignore:Singular sample detected")
@pytest.mark.parametrize("family", MEASURED, ids=lambda family: family.label)
def test_gradients_are_exact_in_the_mean(family):
    truth = family.truth(family)
    for seed, name in enumerate(ESTIMATORS):
        if refusal_of(family, name) is not None:
            continue
        if family.slow and name != "reparameterized":
            continue
        found = measure(family, name, truth, seed)
        assert found.refusal is None, f"{name}: {found.refusal}"
        assert found.distance < 1, f"{name} is {found.distance:.2f} of the limit off"
        assert found.tenth_off > 1, f"{name}: an error of 10% would not be seen"


@pytest.mark.parametrize(
    "label",
    [
        "AVFMultivariateNormal",
        "GaussianHMM",
        "IndependentHMM",
        "MaskedMixture",
        "OMTMultivariateNormal",
    ],
)
def test_lax_serves_those_that_the_hybrid_cannot(label):
    """It needs both gradients, but no parameters of each draw's own."""
    (family,) = [f for f in CATALOGUE if f.label == label]
    assert refusal_of(family, "hybrid") is not None
    found = measure(family, "lax", family.truth(family))
    assert found.holds, found


@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_is_measured_finds_a_wrong_gradient(name):
    """Here the truth is moved; to move the gradient by a tenth is the same."""
    (family,) = [f for f in CATALOGUE if f.label == "Normal"]
    truth = {k: v / 0.9 for k, v in family.truth(family).items()}
    assert not measure(family, name, truth).holds


def test_a_cost_of_another_precision_is_followed():
    """The parameters are single, the cost double: the gradient is single again."""
    loc = torch.tensor(0.3, requires_grad=True)
    hybrid = pg.estimator("hybrid")
    for _ in range(3):
        loss = pg.expectation(
            lambda x: x.double() ** 2,
            torch.distributions.Normal(loc, 1.0),
            estimator=hybrid,
            num_samples=4000,
        )
        (slope,) = torch.autograd.grad(loss, loc)
    assert slope.dtype == torch.float32
    assert abs(slope.item() - 0.6) < 0.1
