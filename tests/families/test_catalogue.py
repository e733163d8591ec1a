"""The catalogue knows all that Pyro exports, and the page shows what it says."""

import re
from pathlib import Path

import pyro.distributions as dist
import pytest
import torch

from tests.families.catalogue import CATALOGUE, NO_DISTRIBUTIONS
from tests.families.measure import ESTIMATORS, reason, refusal_of
from tests.families.table import markdown

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
ROWS = {family.label: family for family in CATALOGUE}


def test_every_export_of_pyro_is_known():
    known = {family.exported for family in CATALOGUE} | set(NO_DISTRIBUTIONS)
    assert set(dist.__all__) - known == set(), "add a row to the catalogue"
    assert known - set(dist.__all__) == set(), "Pyro exports these no more"


def test_what_is_no_distribution_cannot_be_drawn_from():
    for name in NO_DISTRIBUTIONS:
        thing = getattr(dist, name)
        if isinstance(thing, type) and issubclass(
            thing, torch.distributions.Distribution
        ):
            assert NO_DISTRIBUTIONS[name] == "abstract"


def test_a_row_builds_what_it_names():
    for family in CATALOGUE:
        kind = getattr(dist, family.exported)
        law = family.law()
        if family.exported == "ConditionalTransformedDistribution":
            assert isinstance(law, dist.TransformedDistribution)
        else:
            assert isinstance(law, kind), family.label
    assert len(ROWS) == len(CATALOGUE)


@pytest.mark.filterwarnings("ignore:Singular sample detected")
def test_the_page_shows_the_table():
    shown = re.search(
        r"<!-- families: begin -->\n(.*?)\n<!-- families: end -->",
        PAGE.read_text(),
        re.DOTALL,
    )
    assert shown, "docs/families.md lacks the markers of the table"
    assert shown[1].strip() == markdown(), (
        "docs/families.md is out of date; put in what python -m tests.families prints"
    )


@pytest.mark.filterwarnings("ignore:Singular sample detected")
def test_a_refusal_says_what_to_write_instead():
    for family in CATALOGUE:
        for name in ESTIMATORS:
            refusal = refusal_of(family, name)
            if refusal is not None:
                assert re.search(r"Write|Use|Choose", refusal), refusal
                assert 0 < len(reason(refusal)) < len(refusal)


@pytest.mark.filterwarnings("ignore:Singular sample detected")
def test_what_is_written_instead_is_served():
    one_by_one = {"Empirical", "SpanningTree"}  # served in programs, not side by side
    for family in CATALOGUE:
        if family.exported in one_by_one:
            continue
        for name in ESTIMATORS:
            refusal = refusal_of(family, name) or ""
            if "does not fit" not in refusal:
                continue
            advised = re.findall(r'estimator="(\w+)"', refusal.split(" Write ")[-1])
            for other in set(advised) & set(ESTIMATORS):
                assert refusal_of(family, other) is None, f"{family.label}: {refusal}"
