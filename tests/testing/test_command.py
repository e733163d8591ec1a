"""``pgplugins check``."""

import json

from click.testing import CliRunner

import pgplugins as pg
from pgplugins.cli import main
from tests.testing.faults import WrongRowCount


def check(*arguments):
    return CliRunner().invoke(main, ["check", *arguments])


def test_a_right_estimator_ends_with_zero():
    done = check("enumerate")
    assert done.exit_code == 0
    assert done.output.startswith("enumerate: passed, ")
    rows = [line.split() for line in done.output.splitlines()]
    assert ["unbiased_gradient[softmax_bandit]", "passed", "exact"] in rows


def test_a_wrong_one_ends_with_one(manager):
    pg.register(WrongRowCount)
    done = check("planted", "--json")
    assert done.exit_code == 1
    found = json.loads(done.output)
    failed = [r["check"] for r in found["results"] if r["status"] == "failed"]
    assert failed == ["rows_are_as_declared"]
    assert found["passed"] is False


def test_an_unknown_name_ends_with_two():
    done = check("enumerat")
    assert done.exit_code == 2
    assert "Did you mean 'enumerate'?" in done.output
