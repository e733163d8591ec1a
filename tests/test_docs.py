"""The documentation says what the code says."""

import dataclasses
import inspect
import re
from pathlib import Path

import click
import command_help
import pytest
from estimator_table import markdown_table

import pgplugins as pg
from pgplugins.cli import COMMANDS, main
from pgplugins.core.estimator import NEEDS
from pgplugins.diagnostics.command import compare
from pgplugins.diagnostics.explain_command import explain
from pgplugins.plugins import hookspecs, overview
from pgplugins.testing import checks  # noqa: F401  registers them
from pgplugins.testing.registry import summaries
from tests.reference import resolve

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
HOOKS = {
    name: hook
    for name, hook in vars(hookspecs).items()
    if name.startswith("pgplugins_")
}
BUILT_IN = [row.name for row in overview() if row.owner == "pgplugins"]


def signature(hook):
    """Return the hook's signature as its source writes it."""
    written = f"{hook.__name__}{inspect.signature(hook)}"
    return written.replace("'", "")


def test_there_are_hooks_and_estimators_to_check():
    assert "pgplugins_register_estimators" in HOOKS
    assert {"enumerate", "hybrid", "reparameterized", "score_function"} <= set(BUILT_IN)


@pytest.mark.parametrize("name", HOOKS)
def test_a_hooks_signature_is_in_the_tutorial_and_its_entry_in_the_reference(name):
    hook = HOOKS[name]
    page = (DOCS / "plugins.md").read_text()
    assert f"`{signature(hook)}`" in page
    assert f".. autofunction:: pgplugins.plugins.hookspecs.{name}\n" in page


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_estimator_has_its_page(name):
    page = (DOCS / "estimators" / f"{name}.md").read_text()
    assert page.startswith(f"# `{name}`\n")
    for directive in ("estimator", "variance-curve"):
        # The fence is closed: an open one swallows what comes next.
        assert f"\n```{{{directive}}} {name}\n```\n" in page


def test_a_page_has_its_estimator():
    assert sorted(path.stem for path in DOCS.glob("estimators/*.md")) == BUILT_IN


@pytest.mark.parametrize("row", overview(), ids=lambda row: row.name)
def test_a_row_of_the_table_says_what_the_traits_say(row):
    (line,) = [
        text for text in markdown_table().splitlines() if f"| `{row.name}` |" in text
    ]
    traits = pg.estimator(row.name).traits
    assert f"](estimators/{row.name}.md)" in markdown_table(linked=True)
    assert ("**no**" in line) is (not traits.unbiased)
    assert all(need in line for need in traits.needs)
    assert row.summary


def test_readme_shows_the_table_of_estimators():
    readme = (ROOT / "README.md").read_text()
    shown = re.search(
        r"<!-- estimators: begin -->\n(.*?)\n<!-- estimators: end -->",
        readme,
        re.DOTALL,
    )
    assert shown, "README.md lacks the markers of the table"
    assert shown[1].strip() == markdown_table(), (
        "README.md is out of date; put in what python docs/_ext/estimator_table.py says"
    )


def test_every_example_is_on_its_page():
    page = (DOCS / "examples.md").read_text()
    names = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
    listed = re.findall(r"^\| `(\w+)\.py` \|", page, re.MULTILINE)
    assert sorted(listed) == names
    # Run and shown when the page is built.
    entries = re.findall(r"^```\{example\} (\w+)\n```$", page, re.MULTILINE)
    assert sorted(entries) == names


def test_the_table_of_checks_is_what_the_checks_say():
    page = (DOCS / "testing.md").read_text()
    shown = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE))
    assert shown == {k: v.replace("``", "`") for k, v in summaries().items()}


@pytest.mark.parametrize("command", [compare, explain], ids=["compare", "explain"])
def test_the_options_of_a_command_are_on_its_page(command):
    page = (DOCS / f"{command.name}.md").read_text()
    shown = re.findall(r"^\| `(--[\w-]+)", page, re.MULTILINE)
    options = [name for p in command.params for name in p.opts if name[:2] == "--"]
    assert sorted(shown) == sorted(options)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_and_its_options_are_documented(name):
    assert "\n```{commands}\n```\n" in (DOCS / "commands.md").read_text()
    command = main.get_command(click.Context(main), name)
    section = command_help.markdown().split(f"## `pgplugins {name}`\n")[1]
    section = section.split("\n## ")[0]
    assert COMMANDS[name].summary in " ".join(section.split())
    for option in command.params:
        if isinstance(option, click.Option):
            row = rf"^\| `(?:-\w, )?{option.opts[-1]}\b[^|]*` \| (.*) \|$"
            (text,) = re.findall(row, section, re.MULTILINE)
            assert text and text == option.help


@pytest.mark.parametrize("field", dataclasses.fields(pg.Traits), ids=lambda f: f.name)
def test_a_trait_is_documented(field):
    assert ".. autoclass:: pgplugins.Traits" in (DOCS / "api.md").read_text()
    assert re.search(rf"^    {field.name}: \w", inspect.getdoc(pg.Traits), re.MULTILINE)


@pytest.mark.parametrize("need", sorted(NEEDS))
def test_a_need_is_explained(need):
    assert f'"{need}"' in inspect.getdoc(pg.Traits)
    page = (DOCS / "which_estimator.md").read_text()
    assert re.search(rf"^\| `{need}` \| \w", page, re.MULTILINE)


def code_of(page):
    """Return what a page sets in the type of code, without Python."""
    return re.findall(r"```(?:bash|text|yaml)\n(.*?)```|`([^`\n]+)`", page, re.DOTALL)


PAGES = {
    path.name: path.read_text() for path in [*DOCS.glob("*.md"), ROOT / "README.md"]
}


def test_a_command_that_a_page_writes_exists():
    """README's and every other page's, with its options."""
    seen, options = set(), 0
    for page in PAGES.values():
        for line in "\n".join(a or b for a, b in code_of(page)).splitlines():
            for name, rest in re.findall(
                r"(?:^|-m |&& ?)pgplugins ([a-z]+)\b([^&|;#]*)", line
            ):
                assert name in COMMANDS, line
                command = main.get_command(click.Context(main), name)
                known = {opt for p in command.params for opt in p.opts} | {"--help"}
                written = set(re.findall(r"(?<=\s)--[\w-]+", rest))
                assert written <= known, line
                seen.add(name)
                options += len(written)
    assert seen == set(COMMANDS) and options >= 5


@pytest.mark.parametrize("page", PAGES)
def test_a_name_that_a_page_writes_exists(page):
    text = PAGES[page]
    for path in set(re.findall(r"\bpgplugins(?:\.[A-Za-z_]\w*)+", text)):
        resolve(path)
    for path in set(re.findall(r"\bpg((?:\.[A-Za-z_]\w*)+)", text)):
        resolve(f"pgplugins{path}")


def test_every_page_is_in_the_table_of_contents():
    index = (DOCS / "index.md").read_text()
    blocks = re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL)
    listed = [line for b in blocks for line in b.split("\n\n")[1].split()]
    assert sorted(listed) == sorted(
        p.stem for p in DOCS.glob("*.md") if p != DOCS / "index.md"
    )
