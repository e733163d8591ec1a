"""The extensions that set the pages' formulas and run their examples."""

from pathlib import Path

import example_output
import mathml
import pytest
from docutils import nodes

DOCS = Path(__file__).parents[1] / "docs"


def test_a_formula_is_set():
    shown = mathml.rendered(nodes.math(text=r"\tfrac{1}{2} \varepsilon^2"), False)
    assert shown.startswith("<math") and "<mn>1</mn>" in shown and "<mn>2</mn>" in shown


@pytest.mark.parametrize(
    "text", [r"\tfrac12 x", r"\frac1K", r"\nonsense{x}", r"\frac1{a < b}"]
)
def test_a_formula_that_would_be_another_is_shown_as_written(text):
    """``\\frac12 x`` would be 12 over x."""
    shown = mathml.rendered(nodes.math(text=text), False)
    assert shown.startswith("<code>") and "a <" not in shown


def test_the_runs_that_the_pages_ask_for_are_started_before():
    asked = [
        run
        for page in DOCS.glob("*.md")
        for run in example_output.asked_by(page.read_text())
    ]
    names = {path.stem for path in (DOCS.parent / "examples").glob("*.py")}
    gallery = {run.name for run in asked if run.arguments == ("--tiny",)}
    assert gallery == names
    lint = example_output.Asked("both_gradients", ("--only", "lint"))
    assert lint in asked and len(asked) == len(set(asked))
