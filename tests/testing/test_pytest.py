"""The kit as tests: parametrized, and without any test file."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_pytest(folder, *arguments):
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "pytest_pgplugins",
            "-p",
            "no:cacheprovider",
            *arguments,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        check=False,
    )


PARAMETRIZED = """
import pgplugins as pg
from tests.testing.faults import WrongRowCount

@pg.testing.parametrize_with_checks(
    [WrongRowCount()], expected_failures={expected}
)
def test_conformance(estimator, check):
    check(estimator)
"""


def test_one_test_per_check_with_failures_expected(tmp_path):
    code = PARAMETRIZED.format(expected={"rows_are_as_declared": "one too few"})
    (tmp_path / "test_it.py").write_text(code)
    done = run_pytest(tmp_path, "-q", "-k", "rows_are or terms or weights", "-rx")
    assert done.returncode == 0, done.stdout
    assert "planted-rows_are_as_declared] - one too few" in done.stdout
    assert " 1 xfailed" in done.stdout


@pytest.mark.parametrize(
    ("stale", "words"),
    [("weights_sum_to_one", "XPASS(strict)"), ("no_such", "there is no check")],
)
def test_expected_failures_go_stale_loudly(tmp_path, stale, words):
    (tmp_path / "test_it.py").write_text(PARAMETRIZED.format(expected=[stale]))
    done = run_pytest(tmp_path, "-q", "-k", stale)
    assert done.returncode == 1
    assert words in done.stdout


def test_an_installed_estimator_needs_no_test_file(tmp_path):
    (tmp_path / "test_other.py").write_text("def test_other():\n    assert False\n")
    done = run_pytest(tmp_path, "--pgplugins-estimator", "enumerate", "-v")
    assert done.returncode == 0, done.stdout
    assert "unbiased_gradient[bernoulli_logits] PASSED" in done.stdout
    assert "test_other" not in done.stdout


def test_paths_are_collected_as_well(tmp_path):
    (tmp_path / "test_other.py").write_text("def test_other():\n    pass\n")
    done = run_pytest(
        tmp_path,
        "--pgplugins-estimator",
        "enumerate",
        "-q",
        "-k",
        "other or weights",
        "test_other.py",
    )
    assert re.search(r"\b2 passed", done.stdout) or "3 passed" in done.stdout


def test_a_misspelled_name_is_a_usage_error(tmp_path):
    done = run_pytest(tmp_path, "--pgplugins-estimator", "enumerat")
    assert done.returncode == 4
    assert "Did you mean 'enumerate'?" in done.stderr


def test_a_failure_says_what_was_found(tmp_path):
    plugin = "import pgplugins as pg\nfrom tests.testing.faults import WrongRowCount\n"
    plugin += "pg.register(WrongRowCount)\n"
    (tmp_path / "conftest.py").write_text(plugin)
    done = run_pytest(tmp_path, "--pgplugins-estimator", "planted", "-q", "-k", "rows")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "traits.cost_evaluations says 2" in done.stdout
    assert "registry.py" not in done.stdout  # no stack of the library's own


def test_pytest_starts_without_torch(tmp_path):
    code = "import sys, pytest, pytest_pgplugins; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout.strip() == "False"


def test_importing_pgplugins_imports_neither_pytest_nor_the_kit():
    code = (
        "import sys, pgplugins; print([m for m in ('pytest', 'pgplugins.testing')"
        " if m in sys.modules], pgplugins.testing.check_estimator.__name__,"
        " 'pytest' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout.strip() == "[] check_estimator False"
