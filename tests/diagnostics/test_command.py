"""The main job from the command line, at a fraction of its size."""

import json

import pytest
from click.testing import CliRunner

from pgplugins.cli import main
from pgplugins.diagnostics.main_job import (
    cartpole,
    extras,
    logistic_regression,
    lqr,
)

WANT = {"score_function", "reparameterized", "hybrid"}


@pytest.fixture
def small(monkeypatch):
    """Fewer runs, and a training that stops after a few episodes."""
    monkeypatch.setattr(lqr, "RUNS", 40)
    monkeypatch.setattr(logistic_regression, "RUNS", 40)
    monkeypatch.setattr(logistic_regression, "WARMUP", 40)
    monkeypatch.setattr(logistic_regression, "STEPS", 20)
    monkeypatch.setattr(cartpole, "STEP_LIMIT", 3_000)


def test_json_holds_every_estimator_on_every_objective(small, tmp_path):
    done = CliRunner().invoke(
        main, ["compare", "--json", "--output", str(tmp_path / "new"), "--seed", "3"]
    )
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    names: dict[str, set[str]] = {}
    for row in shown["rows"]:
        names.setdefault(row["objective"], set()).add(row["estimator"])
        assert abs(row["bias_z"]) < 5.5  # Student's t: one false alarm in 10,000
        assert row["efficiency"] == pytest.approx(
            1 / (row["variance"] * row["seconds"])
        )
    assert len(names) == 2
    assert all(found == WANT for found in names.values())
    assert {entry["objective"] for entry in shown["objectives"]} == set(names)
    assert shown["training"]["env_steps"][-1] >= 3_000
    assert shown["seed"] == 3
    header = (tmp_path / "new" / "compare.png").read_bytes()[:8]
    assert header == b"\x89PNG\r\n\x1a\n"


def test_text_says_who_won_and_how_to_read_it(small, tmp_path):
    done = CliRunner().invoke(
        main,
        ["compare", "--output", str(tmp_path), "--estimators", "hybrid, reparam"],
    )
    assert done.exit_code == 0, done.output
    assert "score_function  " not in done.stdout
    assert "hybrid wins" in done.stdout
    assert "How to read this" in done.stdout
    assert "CartPole-v1 with score_function: not solved" in done.stdout


@pytest.mark.parametrize("names", ["nope", "hybrid,nope"])
def test_a_wrong_name_is_one_line_and_status_two(names):
    done = CliRunner().invoke(main, ["compare", "--estimators", names])
    assert done.exit_code == 2
    assert "'nope'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_no_names_at_all_are_refused():
    done = CliRunner().invoke(main, ["compare", "--estimators", " , "])
    assert done.exit_code == 2
    assert "names nothing" in done.stderr


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(extras._DISTRIBUTIONS, "no_such_module", "no-such-package")
    done = CliRunner().invoke(main, ["compare"])
    assert done.exit_code == 2
    assert "no-such-package" in done.stderr
    assert 'pip install "pgplugins[examples]"' in done.stderr
