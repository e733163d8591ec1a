"""The Python code in the pages of the documentation runs, from top to bottom."""

import re
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parents[1] / "docs"
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = {
    path.name: text
    for path in sorted(DOCS.glob("*.md"))
    if FENCE.search(text := path.read_text())
}


def test_there_is_code_to_run():
    assert {"both_gradients.md", "coming_from_pyro.md", "quickstart.md"} <= set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_pages_code_runs(name):
    text, space = PAGES[name], {"__name__": name}
    torch.manual_seed(0)
    for block in FENCE.finditer(text):
        # So that a traceback shows the line of the page.
        above = "\n" * text[: block.start(1)].count("\n")
        exec(compile(above + block[1], str(DOCS / name), "exec"), space)


def test_a_command_that_a_page_names_exists():
    for path in DOCS.glob("*.md"):
        for named in re.findall(r"(?:examples|tests)/[\w/]+\.py", path.read_text()):
            assert (DOCS.parent / named).is_file(), f"{path.name} names {named}"
