"""One test per check, for pytest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pgplugins.core.estimator import Estimator
from pgplugins.plugins import estimator as make_estimator
from pgplugins.testing.conformance import ExpectedFailures, missing, reasons
from pgplugins.testing.evidence import CheckFailed
from pgplugins.testing.registry import checks_for
from pgplugins.testing.subject import Subject

if TYPE_CHECKING:
    from pytest import MarkDecorator

EstimatorLike = str | Estimator | type[Estimator]


class EstimatorCheck:
    """A check as a test calls it: ``check(estimator)``.

    Args:
        name: The check's name.
        seed: Fixes its random numbers.
    """

    def __init__(self, name: str, seed: int = 0) -> None:
        """Keep the name."""
        self.name = name
        self.seed = seed

    def __call__(self, estimator: EstimatorLike) -> None:
        """Run the check.

        Raises:
            AssertionError: It failed, or there is none of that name.
        """
        subject = Subject(make_estimator(estimator))
        found = checks_for(subject)
        for check in found:
            if check.name == self.name:
                check.run(subject, self.seed)
                return
        raise CheckFailed(missing(self.name, found))

    def __repr__(self) -> str:
        """The name."""
        return self.name


def parametrize_with_checks(
    estimators: Iterable[EstimatorLike],
    *,
    expected_failures: (
        ExpectedFailures | Callable[[Estimator], ExpectedFailures]
    ) = None,
    seed: int = 0,
) -> MarkDecorator:
    """Make one test of every check of every estimator.

    Args:
        estimators: Instances, classes or names.
        expected_failures: Names of checks that are known to fail, a mapping from names
            to reasons, or a function of an estimator that returns either. Their tests
            are marked ``xfail(strict=True)``: one that passes fails, and so does a name
            that no check has.
        seed: Fixes every random number.

    Returns:
        A decorator for a test function with the arguments ``estimator`` and ``check``,
        whose body is ``check(estimator)``.

    Example:
        >>> import pgplugins as pg
        >>> @parametrize_with_checks([pg.estimator("enumerate")])
        ... def test_conformance(estimator, check):
        ...     check(estimator)
    """
    import pytest

    parameters = []
    for given in estimators:
        estimator = make_estimator(given)
        told = (
            expected_failures(estimator)
            if callable(expected_failures)
            else expected_failures
        )
        expected = reasons(told)
        names = [check.name for check in checks_for(Subject(estimator))]
        for name in [*names, *(n for n in expected if n not in names)]:
            known = name in expected and name in names
            reason = expected.get(name, "")
            parameters.append(
                pytest.param(
                    estimator,
                    EstimatorCheck(name, seed),
                    id=f"{estimator.name}-{name}",
                    marks=[pytest.mark.xfail(strict=True, reason=reason)]
                    if known
                    else [],
                )
            )
    return pytest.mark.parametrize(("estimator", "check"), parameters)
