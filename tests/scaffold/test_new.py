"""``pgplugins new``: what it writes is a plugin that works, and what it refuses."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

import pgplugins as pg
from pgplugins import cli
from pgplugins.plugins import registry
from pgplugins.plugins.manager import Manager
from pgplugins.scaffold.names import LONGEST, Names
from pgplugins.scaffold.package import FILES

# The whole kit would take half a minute; .ci/run does it, on an installed package.
PART = ["-p", "no:cacheprovider", "-k", "found or shape or (small_batches and coin)"]


def new(*arguments):
    return CliRunner().invoke(cli.main, ["new", *map(str, arguments)])


def install(package, to):
    """Lay out what an installer would write, from what pyproject.toml declares."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    info = to / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\n"
        f"Version: {project['version']}\n"
    )
    entries = project["entry-points"]["pgplugins"].items()
    lines = [f"{name} = {target}\n" for name, target in entries]
    (info / "entry_points.txt").write_text("[pgplugins]\n" + "".join(lines))
    return os.pathsep.join([str(to), str(package / "src"), *sys.path])


def python(*arguments, cwd, path):
    """Run in a process of its own, with nothing known but what is on the path."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        check=False,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A generated package, with what the command printed and a path to import it."""
    directory = tmp_path_factory.mktemp("made") / "pgplugins-two-point"
    done = new("Two-Point", "--output", directory)
    assert done.exit_code == 0, done.output
    path = install(directory, tmp_path_factory.mktemp("site"))
    return directory, done.output, path


def test_it_passes_its_own_tests(made):
    directory, _, path = made
    done = python("-m", "pytest", "-q", *PART, cwd=directory, path=path)
    assert done.returncode == 0, done.stdout + done.stderr
    ran = int(done.stdout.split(" passed")[0].split()[-1])
    assert ran > 8, done.stdout


def test_its_tests_tell_a_wrong_estimator(made, tmp_path):
    directory, _, path = made
    source = (directory / "src/pgplugins_two_point/estimator.py").read_text()
    wrong = source.replace("draw.score_term(cost)[0]", "0.9 * draw.score_term(cost)[0]")
    assert wrong.count("0.9 *") == 1
    package = tmp_path / "pgplugins_two_point"
    package.mkdir()
    (package / "estimator.py").write_text(wrong)
    init = directory / "src/pgplugins_two_point/__init__.py"
    (package / "__init__.py").write_text(init.read_text())
    path = os.pathsep.join([str(tmp_path), path])
    done = python("-m", "pytest", "-q", *PART, cwd=directory, path=path)
    assert done.returncode == 1, done.stdout + done.stderr
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert failed
    assert all("small_batches" in line for line in failed)


def test_it_is_a_plugin_in_any_process(made, tmp_path):
    path = made[-1]
    code = (
        "import pgplugins as pg; from pgplugins.plugins import owner_of; "
        "print(pg.estimator('two_point').traits.order, owner_of('two_point'))"
    )
    done = python("-c", code, cwd=tmp_path, path=path)
    assert done.stdout.split() == ["any", "pgplugins-two-point"], done.stderr
    again = python("-m", "pgplugins", "new", "two_point", cwd=tmp_path, path=path)
    assert again.returncode == 2
    assert "pgplugins-two-point" in again.stderr
    assert list(tmp_path.iterdir()) == []


def test_its_code_runs(made, tmp_path):
    directory, _, path = made
    readme = (directory / "README.md").read_text()
    code = readme.split("```python\n")[1].split("```")[0]
    check = "assert mu.grad != 0"
    done = python("-c", code + check, cwd=tmp_path, path=path)
    assert done.returncode == 0, done.stderr


def test_it_says_what_it_wrote_and_what_to_do_next(made):
    directory, printed, _ = made
    assert printed.startswith(f"{directory} holds the package pgplugins-two-point:\n")
    for file in directory.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            assert f"  {file.relative_to(directory)}\n" in printed
    commands = printed.split("tests:\n\n")[1].split("\n\n")[0].splitlines()
    assert [line.strip() for line in commands] == [
        f"cd {directory}",
        "python -m pip install -e '.[test]'",
        "python -m pytest",
    ]


def test_its_metadata_has_ranges_and_no_pins(made):
    directory, _, _ = made
    project = tomllib.loads((directory / "pyproject.toml").read_text())
    asked = list(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        asked += [entry for entry in extra if "[" not in entry]
    assert any(entry.startswith("pgplugins>=") for entry in asked)
    for entry in asked:
        assert ">=" in entry
        assert "==" not in entry
    assert project["build-system"]["build-backend"] == "hatchling.build"
    (module,) = project["project"]["entry-points"]["pgplugins"].values()
    assert (directory / "src" / module / "py.typed").is_file()
    assert project["tool"]["mypy"]["strict"] is True


@pytest.mark.parametrize("name", ["a", "two_point", "z" * LONGEST])
def test_it_is_tidy_whatever_the_length_of_its_name(tmp_path, name):
    pytest.importorskip("ruff")
    assert new(name, "--output", tmp_path / "package").exit_code == 0
    for tool in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *tool, "--no-cache", "."],
            capture_output=True,
            text=True,
            cwd=tmp_path / "package",
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_without_output_it_is_named_after_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert new("two_point").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["pgplugins-two-point"]


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ("2point", "point"),
        ("lambda", "my_lambda"),
        ("true", "my_true"),
        ("", "my_estimator"),
        ("two+point", "twopoint"),
        ("été", "t"),
        ("_two_point", "two_point"),
        ("z" * (LONGEST + 1), "z" * LONGEST),
        ("pgplugins-two-point", "two-point"),
        ("reinforce", "my_reinforce"),
        ("score_function", "my_score_function"),
        ("Score-Function", "my_score_function"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_one_that_can(tmp_path, written, instead):
    refused = new(written, "--output", tmp_path / "package")
    assert refused.exit_code == 2
    sentence = rf"[Ww]rite (an|one|such|as|other|,| )*{instead}\."
    assert re.search(sentence, refused.stderr)
    assert not (tmp_path / "package").exists()
    assert new(instead, "--output", tmp_path / "package").exit_code == 0


def test_the_name_of_an_installed_package_is_refused(tmp_path, monkeypatch):
    """Whatever its estimators are called."""
    package = tmp_path / "package"
    assert new("two_point", "--output", package).exit_code == 0
    install(package, tmp_path / "site")
    (metadata,) = (tmp_path / "site").glob("*.dist-info/entry_points.txt")
    metadata.unlink()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    refused = new("two_point", "--output", tmp_path / "again")
    assert refused.exit_code == 2
    assert "pgplugins-two-point 0.1.0 is installed" in refused.stderr


def test_the_name_of_a_registered_estimator_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_manager", Manager())

    @pg.register
    class Registered(pg.Estimator):
        name = "outsider"
        traits = pg.Traits(unbiased=True, needs=frozenset({"log_prob"}))

        def draw(self, dist):
            return pg.Draw(dist=dist, value=dist.sample().unsqueeze(0))

        def gradient_term(self, draw, cost):
            return draw.score_term(cost)[0]

    refused = new("outsider", "--output", tmp_path / "package")
    assert refused.exit_code == 2
    assert "is taken" in refused.stderr
    assert "this process" in refused.stderr


def test_a_directory_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("kept")
    refused = new("two_point", "--output", tmp_path)
    assert refused.exit_code == 2
    assert "not empty" in refused.stderr
    assert "--output" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    refused = new("two_point", "--output", tmp_path / "mine")
    assert refused.exit_code == 2
    assert (tmp_path / "mine").read_text() == "kept"
    refused = new("two_point", "--output", tmp_path / "mine" / "below")
    assert refused.exit_code == 2


def test_an_empty_directory_is_used(tmp_path):
    assert new("two_point", "--output", tmp_path).exit_code == 0
    assert (tmp_path / "pyproject.toml").is_file()


def test_without_a_name_it_says_how_it_is_used():
    refused = new()
    assert refused.exit_code == 2
    assert "Usage: main new [OPTIONS] NAME" in refused.stderr


def test_templates_are_as_many_as_files():
    folder = Path(cli.__file__).parent / "scaffold" / "template"
    names = {f"{template}.template" for template in FILES.values()}
    assert {path.name for path in folder.iterdir()} == names


def test_a_class_is_named_in_capitals():
    assert Names("two_point_2").class_name == "TwoPoint2"
