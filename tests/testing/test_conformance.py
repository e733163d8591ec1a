"""The kit itself: what passes, what it leaves alone, and failures that are expected."""

import copy
import random

import numpy as np
import pyro
import pytest
import torch

import pgplugins as pg
from pgplugins.testing import run_checks
from pgplugins.testing.registry import summaries
from tests.testing.faults import (
    HiddenState,
    MovingAverage,
    ScoreOfGammas,
    Sum,
    WrongRowCount,
)

CONFIGURED = {
    "leave_one_out": lambda: pg.estimator("score_function", baseline="leave_one_out"),
    "moving_average": lambda: pg.estimator("score_function", baseline="moving_average"),
    "no baseline": lambda: pg.estimator("score_function", baseline=None),
    "neural": lambda: pg.estimator("score_function", baseline="neural"),
    "long memory": lambda: pg.estimator("hybrid", horizon=100.0),
    "few parameters": lambda: pg.estimator("hybrid", max_parameters=1),
}


@pytest.mark.parametrize("name", pg.available())
def test_the_built_in_estimators_pass(name):
    report = pg.testing.check_estimator(name)
    assert report.passed
    assert report.false_failures < 1e-4


@pytest.mark.parametrize("name", CONFIGURED)
def test_configured_estimators_pass(name):
    assert pg.testing.check_estimator(CONFIGURED[name]()).passed


def test_the_estimator_is_not_modified():
    estimator = MovingAverage()
    estimator.mean += 3.0
    before = copy.deepcopy(estimator.state_dict())
    attributes = set(vars(estimator))
    pg.testing.check_estimator(estimator)
    assert estimator.state_dict() == before
    assert set(vars(estimator)) == attributes


def test_nothing_is_left_behind():
    kept = pyro.param("kept", torch.ones(()))
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    pg.testing.check_estimator(pg.estimator("score_function", baseline="neural"))
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert states[2] == np.random.get_state()[1].tolist()
    assert list(pyro.get_param_store()) == ["kept"]
    assert pyro.param("kept") is kept
    assert torch.get_default_dtype() == torch.float32


def test_a_seed_gives_the_same_report():
    first, second = (run_checks(Sum(), seed=3).to_dict() for _ in range(2))
    for report in (first, second):
        for result in report["results"]:
            del result["seconds"]
    assert first == second
    other = run_checks(Sum(), seed=4).to_dict()
    assert [r["check"] for r in other["results"]] == [
        r["check"] for r in first["results"]
    ]


def test_expected_failures_are_allowed_and_shown():
    known = {"rows_are_as_declared": "counts one row too few"}
    report = pg.testing.check_estimator(WrongRowCount(), expected_failures=known)
    (found,) = [r for r in report.results if r.status == "expected failure"]
    assert found.check == "rows_are_as_declared"
    assert "counts one row too few" in found.detail
    assert report.passed


@pytest.mark.parametrize(
    ("stale", "words"),
    [("seeds_reproduce", "expected to fail and passed"), ("no_such", "no check")],
)
def test_expected_failures_go_stale_loudly(stale, words):
    with pytest.raises(AssertionError, match=words) as caught:
        pg.testing.check_estimator(Sum(), expected_failures=[stale])
    assert stale in str(caught.value).splitlines()[0]


def test_expected_failures_have_names():
    with pytest.raises(pg.PgpluginsError, match="names of checks"):
        pg.testing.check_estimator(Sum(), expected_failures=[3])


def test_names_and_classes_are_taken_as_everywhere():
    assert pg.testing.check_estimator(Sum).estimator == "planted"
    with pytest.raises(pg.PgpluginsError, match="Did you mean 'enumerate'"):
        pg.testing.check_estimator("enumerat")


def test_the_report_is_a_table():
    report = run_checks(HiddenState())
    text = str(report)
    assert "state_dicts_carry_the_state" in text
    assert text.splitlines()[0].startswith("planted: 1 failed, ")
    plain = report.to_dict()
    assert plain["passed"] is False
    assert plain["comparisons"] > 0


def test_what_was_not_checked_is_reported_with_the_reason():
    report = run_checks(ScoreOfGammas())
    reasons = {omission.check: omission.reason for omission in report.omissions}
    assert "whose draws a script tells" in reasons["small_batches"]
    assert reasons["hessian"] == "traits.order is 1"
    run = {result.check.split("[")[0] for result in report.results}
    assert run | set(reasons) == set(summaries())
    assert not run & set(reasons)
    (line,) = [li for li in str(report).splitlines() if li.startswith("small_batches ")]
    assert "not run" in line
    assert {"check": "hessian", "reason": "traits.order is 1"} in report.to_dict()[
        "omissions"
    ]


def test_the_report_says_what_sampling_would_have_seen():
    report = run_checks(ScoreOfGammas())
    seen = {r.check: r.resolution for r in report.results}
    assert seen["terms_are_zero"] is None
    assert 0 < seen["unbiased_gradient[gamma]"] <= 0.1
    assert report.resolution == max(s for s in seen.values() if s is not None)
    coarse = sum(s > 0.1 for s in seen.values() if s is not None)
    words = f"would see an error of 10%, or {100 * report.resolution:.0f}% in {coarse} "
    assert words in " ".join(str(report).split())
    (found,) = [r for r in report.results if r.check == "unbiased_gradient[gamma]"]
    assert found.detail == f"would see {100 * found.resolution:.0f}%"
    told = [r for r in run_checks(Sum()).results if "small_batches" in r.check]
    assert {(r.detail, r.resolution) for r in told} == {("exact", None)}


def test_plugins_problems_are_used(monkeypatch):
    from pgplugins.testing.problems import Problem, built_in, catalogue

    (like,) = [p for p in built_in() if p.name == "bernoulli_quadratic"]
    wrong = Problem(
        "from_a_plugin",
        like.parameters,
        like.objective,
        lambda p: 1.1 * like.expected_cost(p),
    )
    monkeypatch.setattr(catalogue, "installed", lambda: [wrong])
    failed = run_checks(Sum()).failures
    assert "unbiased_gradient[from_a_plugin]" in [r.check for r in failed]
