"""The plugin that the tutorial shows is a plugin that works."""

import re
import shlex
import tomllib
from pathlib import Path

import torch
from click.testing import CliRunner

import pgplugins as pg
from pgplugins import cli
from pgplugins.plugins import owner_of

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()


def blocks(language):
    """Return the tutorial's code blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_tutorials_plugin_loads_and_finds_the_gradient(install):
    (metadata,), (code,) = blocks("toml"), blocks("python")
    (name,) = tomllib.loads(metadata)["project"]["entry-points"]["pgplugins"]
    install(name, code, distribution=tomllib.loads(metadata)["project"]["name"])
    assert owner_of("centred") == "pgplugins-centred"

    # E (x - 2)^2 for x ~ N(m, 1) has the derivative 2 (m - 2) in m.
    torch.manual_seed(0)
    n = 100_000
    mean = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    means = mean.expand(n)
    estimator = pg.estimator("centred", centre=2.0)
    draw = estimator.draw(torch.distributions.Normal(means, torch.ones_like(means)))
    term = estimator.gradient_term(draw, (draw.value - 2) ** 2)
    assert term.shape == (n,)
    assert (term == 0).all()
    (per_draw,) = torch.autograd.grad(term.sum(), means)
    error = per_draw.mean() - 2 * (0.5 - 2)
    assert error.abs() < 5 * per_draw.std() / n**0.5
    assert per_draw.std() / n**0.5 < 0.03


def test_the_tutorials_entry_point_leads_to_a_module_of_its_own_name():
    (metadata,) = blocks("toml")
    project = tomllib.loads(metadata)["project"]
    (module,) = project["entry-points"]["pgplugins"].values()
    assert module == project["name"].replace("-", "_")
    assert f"`{module}.py`" in PAGE


def test_the_command_that_the_tutorial_begins_with_writes_what_it_shows(
    tmp_path, monkeypatch
):
    (commands,), (metadata,) = blocks("bash"), blocks("toml")
    first, second, *others = commands.strip().splitlines()
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(first, comments=True)
    done = CliRunner().invoke(cli.main, arguments[1:])
    assert (arguments[0], done.exit_code) == ("pgplugins", 0)
    package = tmp_path / second.removeprefix("cd ")
    written = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    shown = tomllib.loads(metadata)["project"]
    assert written["name"] == shown["name"]
    assert written["entry-points"] == shown["entry-points"]
    assert all(command in done.output for command in [second, *others])
