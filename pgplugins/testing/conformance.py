"""The conformance kit: prove an estimator right, or say where it is wrong."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from pgplugins.core.estimator import Estimator
from pgplugins.core.numbers import random_seed
from pgplugins.errors import InputTypeError
from pgplugins.plugins import estimator as make_estimator
from pgplugins.plugins.suggestion import did_you_mean
from pgplugins.testing import checks as _checks  # noqa: F401  registers them
from pgplugins.testing.evidence import CheckFailed
from pgplugins.testing.registry import Check, checks_for, omissions_for
from pgplugins.testing.report import Report, Result, Status
from pgplugins.testing.subject import Subject

ExpectedFailures: TypeAlias = Mapping[str, str] | Iterable[str] | None


def check_estimator(
    estimator: str | Estimator | type[Estimator],
    *,
    seed: int = 0,
    expected_failures: ExpectedFailures = None,
) -> Report:
    """Prove an estimator on problems with exact gradients.

    Which checks apply follows from the estimator's traits and from what it refuses. An
    estimator with ``unbiased=False`` has its bias measured and reported, not refused.

    Args:
        estimator: An instance, which is not modified; a class; or a name.
        seed: Fixes every random number.
        expected_failures: Names of checks that are known to fail, or a mapping from
            names to reasons. One that passes or does not exist is a failure.

    Returns:
        What was found, check by check.

    Raises:
        InputError: ``seed`` is no seed.
        InputTypeError: ``expected_failures`` is of another kind.
        UnknownEstimatorError: Nothing is registered under the name.
        AssertionError: A check failed; the first line names it. The checks after the
            first failure do not run.

    Example:
        >>> report = check_estimator("enumerate")
        >>> report.passed, report.false_failures < 1e-4
        (True, True)
    """
    subject = Subject(make_estimator(estimator))
    results: list[Result] = []
    for result in _results(subject, seed, reasons(expected_failures)):
        results.append(result)
        if result.status in ("failed", "stale"):
            raise AssertionError(_message(subject.name, result))
    return _report(subject, results)


def run_checks(
    estimator: str | Estimator | type[Estimator],
    *,
    seed: int = 0,
    expected_failures: ExpectedFailures = None,
) -> Report:
    """Run every check that applies, and report failures instead of raising.

    Args:
        estimator: As for :func:`check_estimator`.
        seed: As for :func:`check_estimator`.
        expected_failures: As for :func:`check_estimator`.

    Returns:
        What was found, check by check.

    Raises:
        InputError: ``seed`` is no seed.
        InputTypeError: ``expected_failures`` is of another kind.
        UnknownEstimatorError: Nothing is registered under the name.

    Example:
        >>> run_checks("enumerate").failures
        []
    """
    subject = Subject(make_estimator(estimator))
    results = list(_results(subject, seed, reasons(expected_failures)))
    return _report(subject, results)


def _results(
    subject: Subject, seed: int, expected: Mapping[str, str]
) -> Iterator[Result]:
    random_seed(seed)
    found = checks_for(subject)
    for name in expected:
        if name not in {check.name for check in found}:
            yield Result(name, "stale", "", missing(name, found), 0.0)
    for check in found:
        yield _result(check, subject, seed, expected)


def _report(subject: Subject, results: list[Result]) -> Report:
    ledger = subject.ledger
    return Report(
        subject.name,
        tuple(results),
        tuple(omissions_for(subject)),
        ledger.comparisons,
        ledger.false_alarms,
    )


def reasons(expected_failures: ExpectedFailures) -> dict[str, str]:
    """Return expected failures with their reasons.

    Raises:
        InputTypeError: They are neither names nor a mapping from names.
    """
    if expected_failures is None:
        return {}
    if isinstance(expected_failures, Mapping):
        found = dict(expected_failures)
    elif isinstance(expected_failures, str):
        found = {expected_failures: ""}
    else:
        found = dict.fromkeys(expected_failures, "")
    if not all(isinstance(name, str) for name in found):
        raise InputTypeError(
            f"expected_failures={expected_failures!r}: write names of checks, or a "
            "mapping from names to reasons."
        )
    return found


def missing(name: str, found: list[Check]) -> str:
    """Say that an expected failure is not among the checks."""
    names = [check.name for check in found]
    return (
        f"there is no check {name!r} for this estimator; take it out of "
        f"expected_failures.{did_you_mean(name, names)}"
    )


def _result(
    check: Check, subject: Subject, seed: int, expected: Mapping[str, str]
) -> Result:
    start = time.perf_counter()
    status: Status
    try:
        subject.ledger.resolution = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            remark = check.run(subject, seed)
    except CheckFailed as failure:
        status, detail = "failed", str(failure)
    except Exception as error:
        status, detail = "failed", f"{type(error).__name__}: {error}"
    else:
        status, detail = "passed", _found(remark, subject.ledger.resolution)
    if check.name in expected:
        reason = expected[check.name]
        if status == "failed":
            status = "expected failure"
            detail = f"{reason} ({detail})" if reason else detail
        else:
            status = "stale"
            detail = "it was expected to fail and passed; take it out"
    return Result(
        check.name,
        status,
        check.summary,
        detail,
        time.perf_counter() - start,
        subject.ledger.resolution,
    )


def _found(remark: str | None, resolution: float | None) -> str:
    """Say what a check that passed has to say, and what it would have seen."""
    if resolution is None:
        return remark or ""
    seen = f"would see {100 * resolution:.0f}%" if resolution > 1e-6 else "exact"
    return f"{remark}; {seen}" if remark else seen


def _message(estimator: str, result: Result) -> str:
    lines = [
        f"Check {result.check!r} failed for estimator {estimator!r}: "
        f"{' '.join(result.detail.split())}"
    ]
    if result.summary:
        lines.append(f"The check: {result.summary}.")
    lines.append("pgplugins.testing.run_checks goes on and reports all failures.")
    return "\n".join(lines)
