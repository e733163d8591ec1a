"""The kit catches planted faults, and every check catches some fault."""

import time

import pytest

import pgplugins as pg
from pgplugins.testing.evidence import CheckFailed
from pgplugins.testing.registry import checks_for, summaries
from pgplugins.testing.subject import Subject
from tests.testing.faults import ALSO, CAUGHT_BY, RIGHT, Score, SmallScale

TABLE = [*CAUGHT_BY.items(), *ALSO.items()]


def of_kind(subject, kind):
    return [c for c in checks_for(subject) if c.name.split("[")[0] == kind]


@pytest.mark.parametrize(
    ("fault", "kind"), TABLE, ids=[f"{f.__name__}-{k}" for f, k in TABLE]
)
def test_a_fault_is_caught(fault, kind):
    subject = Subject(fault())
    found = of_kind(subject, kind)
    assert found
    for check in found:
        try:
            check.run(subject, 0)
        except Exception as error:
            assert isinstance(error, CheckFailed | pg.PgpluginsError | RuntimeError)
            return
    pytest.fail(f"none of {len(found)} checks failed")


def test_every_check_catches_a_fault():
    reports_only = {"declared_bias"}
    assert set(summaries()) - reports_only == {kind for _, kind in TABLE}


@pytest.mark.parametrize("right", RIGHT)
def test_what_the_faults_were_planted_in_is_right(right):
    start = time.perf_counter()
    report = pg.testing.check_estimator(right())
    assert report.passed
    assert report.false_failures < 1e-4
    assert time.perf_counter() - start < 120  # 30 s on a core of one's own


def test_the_first_line_names_the_check():
    with pytest.raises(AssertionError) as caught:
        pg.testing.check_estimator(SmallScale())
    first = str(caught.value).splitlines()[0]
    assert first.startswith("Check 'small_batches[")
    assert "'planted'" in first


def test_a_fault_that_is_declared_is_reported():
    class Half(Score):
        traits = pg.Traits(unbiased=False, needs=frozenset({"log_prob"}))

        def gradient_term(self, draw, cost):
            return 0.5 * super().gradient_term(draw, cost)

    report = pg.testing.check_estimator(Half())
    (found,) = [r for r in report.results if r.check == "declared_bias[normal]"]
    assert "off by 50%" in found.detail or "off by 5" in found.detail
    assert not any("unbiased_gradient" in r.check for r in report.results)
