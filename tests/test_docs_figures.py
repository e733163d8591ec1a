"""What the figures of the documentation draw over the measured points is true.

A closed form is refused if at one of its points it is off by five standard errors of
the measured variance. These are at most a fortieth, so one that is a tenth off
everywhere is seen. Right forms are refused in less than one of 10,000 runs; the seeds
are fixed.
"""

import math

import decision_table
import pytest
import variance_curve
import which_figure
from measured import Settings
from variance_curve import FAMILIES

import pgplugins as pg
from pgplugins.plugins import overview

BUILT_IN = [row.name for row in overview() if row.owner == "pgplugins"]
FORMS = [name for name in FAMILIES if name in FAMILIES[name].variances]
SETTINGS = Settings(replicates=200_000, warmup=2, seed=1000)


def test_every_estimator_has_a_curve():
    assert sorted(FAMILIES) == BUILT_IN


@pytest.mark.parametrize("name", FORMS)
def test_a_closed_form_is_what_is_measured(name):
    family = FAMILIES[name]
    found = variance_curve.found(name, SETTINGS)
    for value, measured in zip(family.values, found, strict=True):
        variance, error = measured.variance[family.leaf], measured.error[family.leaf]
        exact = family.variances[name](value, SETTINGS.samples)
        assert abs(variance - exact) <= 5 * error + 1e-12, (value, variance, exact)
        # It has power to see a tenth.
        assert error < 0.025 * exact or exact < 1e-12
        mean, chance = (
            measured.mean[family.leaf].item(),
            math.sqrt(exact / SETTINGS.replicates),
        )
        assert abs(mean - family.mean(value)) <= 5 * chance + 1e-9, value


@pytest.mark.parametrize(
    "name", sorted({n for f in FAMILIES.values() for n in f.beside})
)
def test_what_is_drawn_beside_has_a_closed_form(name):
    for family in FAMILIES.values():
        assert name not in family.beside or name in family.variances


def test_forms_drawn_beside_are_measured_on_their_family_too():
    """On the coin, the six points and the bound; the quadratic has them as its own."""
    drawn = {
        (other, FAMILIES[name].axis): (other, FAMILIES[name])
        for name in FAMILIES
        for other in FAMILIES[name].beside
    }
    assert len(drawn) == 5
    for other, family in drawn.values():
        value = family.values[2]
        measured = family.measure(other, value, SETTINGS)
        error = measured.error[family.leaf]
        exact = family.variances[other](value, SETTINGS.samples)
        assert abs(measured.variance[family.leaf] - exact) <= 5 * error, other
        assert error < 0.025 * exact


@pytest.mark.parametrize("row", overview(), ids=lambda row: row.name)
def test_the_decision_table_keeps_to_the_traits(row):
    """In at least one row, and in the column that its traits say."""
    wanted = "biased"
    if row.unbiased:
        wanted = "gradient" if "differentiable_cost" in row.needs else "any_cost"
    seen = set()
    for law in decision_table.CHOICES.values():
        found = decision_table.suited(law)
        for column in ("any_cost", "gradient", "biased"):
            if row.name in getattr(found, column):
                seen.add(column)
    assert seen == {wanted}


def test_the_decision_table_knows_what_does_not_fit():
    found = {k: decision_table.suited(v) for k, v in decision_table.CHOICES.items()}
    bits = found["many bits in one event (2^20 points)"].any_cost
    assert "disarm" in bits and "enumerate" not in bits
    assert found["counts (Poisson)"].gradient == ()
    assert "antithetic" not in found["continuous, other (Gamma)"].gradient


def test_the_measured_figure_leaves_out_what_is_biased_at_a_jump():
    found = which_figure.found(Settings(replicates=50, warmup=1, learning=2))
    titles = {case.title for case in which_figure.CASES}
    assert {title for title, _ in found} == titles
    jump = {name for title, name in found if title in which_figure.UNSOUND}
    assert jump == {"auto", "lax", "measure_valued", "score_function"}
    names = {name for _, name in found}
    assert all(pg.estimator(name).traits.unbiased for name in names)
