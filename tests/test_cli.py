"""The command line: what it prints, and how it ends."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version

import pytest
from click.testing import CliRunner

import pgplugins as pg
from pgplugins import cli
from pgplugins.plugins import command, overview

BUILT_IN = {"enumerate", "hybrid", "reparameterized", "score_function"}


def run(*arguments):
    return CliRunner().invoke(cli.main, arguments)


def module(*arguments, **variables):
    """Run ``python -m pgplugins`` as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "pgplugins", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        check=False,
    )


@pytest.fixture
def add_command(tmp_path, monkeypatch):
    """Add a command whose body is given as source text."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(name, body):
        (tmp_path / f"command_{name}.py").write_text(
            "import click\nfrom pgplugins.errors import InputError\n"
            f"@click.command()\ndef {name}():\n    {body}\n"
        )
        lazy = cli.LazyCommand(f"command_{name}", name, "For a test.")
        monkeypatch.setattr(cli, "COMMANDS", {**cli.COMMANDS, name: lazy})

    return add


def test_version():
    done = run("--version")
    assert done.exit_code == 0
    assert version("pgplugins") in done.output


def test_list_names_every_estimator_with_its_traits_on_one_line():
    lines = run("list").output.splitlines()
    cells = {line.split()[0]: line.split() for line in lines if line.strip()}
    assert set(pg.available()) <= set(cells)
    for name in BUILT_IN:
        traits = pg.estimator(name).traits
        assert cells[name][1] == ("yes" if traits.unbiased else "no")
        assert {need.strip(",") for need in cells[name]} >= traits.needs
        assert str(traits.cost_evaluations) in cells[name]
        assert str(traits.order) in cells[name]
    assert "reinforce" in cells["score_function"]
    assert {"pathwise,", "reparam"} <= set(cells["reparameterized"])


def test_list_shows_the_error_of_a_broken_plugin_in_full(tmp_path):
    reason = "boom [at] import :smile: " * 30
    (tmp_path / "boom.py").write_text(f"raise RuntimeError('''{reason}''')")
    info = tmp_path / "pgplugins_boom-0.7.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: pgplugins-boom\nVersion: 0.7\n")
    (info / "entry_points.txt").write_text("[pgplugins]\nboom = boom\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = module("list", PYTHONPATH=path, COLUMNS="40")
    assert done.returncode == 0
    (line,) = [row for row in done.stdout.splitlines() if row.startswith("boom")]
    assert reason.strip() in line
    assert line.split()[1:4] == ["pgplugins-boom", "0.7", "failed"]
    # The table says it, a warning would say it again.
    assert done.stderr == ""


def test_list_as_json():
    shown = json.loads(run("list", "--json").output)
    rows = {row["name"]: row for row in shown["estimators"]}
    assert sorted(rows) == pg.available()
    assert rows["reparameterized"]["aliases"] == ["pathwise", "reparam"]
    assert rows["reparameterized"]["needs"] == ["differentiable_cost", "rsample"]
    assert rows["enumerate"]["cost_evaluations"] == "support"
    assert rows["enumerate"]["summary"]
    assert shown["plugins"][0]["status"] == "loaded"
    assert BUILT_IN <= set(shown["plugins"][0]["estimators"])


def test_list_on_a_terminal_of_80_columns_keeps_names_whole(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    command.list_.callback(as_json=False)
    printed = capsys.readouterr().out
    assert "───" in printed
    for row in overview():
        assert all(word in printed for word in (row.name, *row.aliases, *row.needs))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", printed)
    assert max(map(len, plain.splitlines())) <= 80


def test_help_lists_every_command_and_imports_none():
    code = (
        "import sys; from pgplugins.cli import COMMANDS, main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print(*[c.module for c in COMMANDS.values() if c.module in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert all(f"  {name} " in done.stdout for name in cli.COMMANDS)
    assert done.stdout.endswith("\n\n")


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_the_help_of_a_command_agrees_with_the_list_of_commands(name):
    done = run(name, "--help")
    assert done.exit_code == 0
    assert cli.COMMANDS[name].summary in " ".join(done.output.split())


def test_an_error_of_the_library_is_one_line_and_status_2(add_command):
    add_command("refuse", "raise InputError('no such\\n  thing: 3')")
    done = run("refuse")
    assert done.exit_code == 2
    assert done.stderr == "Error: no such thing: 3\n"
    assert done.stdout == ""


def test_an_error_of_another_kind_is_not_hidden(add_command):
    add_command("crash", "raise ZeroDivisionError('a bug')")
    done = run("crash")
    assert isinstance(done.exception, ZeroDivisionError)


def test_a_command_that_cannot_be_imported_breaks_no_other(add_command, tmp_path):
    add_command("broken", "pass")
    (tmp_path / "command_broken.py").write_text("raise ImportError")
    assert run("list").exit_code == 0
    assert run("--help").exit_code == 0
    assert isinstance(run("broken").exception, ImportError)


def test_an_unknown_command_is_status_2():
    done = run("lst")
    assert done.exit_code == 2
    assert "lst" in done.stderr
