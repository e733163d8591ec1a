"""One test per check, for pytest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pgplugins.core.estimator import Estimator
from pgplugins.plugins import estimator as make_estimator
from pgplugins.testing.conformance import ExpectedFailures, missing, reasons
from pgplugins.testing.evidence import CheckFailed
from pgplugins.testing.registry import Check, checks_for
from pgplugins.testing.subject import Subject

if TYPE_CHECKING:
    from pytest import MarkDecorator

EstimatorLike = str | Estimator | type[Estimator]


class EstimatorCheck:
    """A check as a test calls it: ``check(estimator)``.

    Args:
        name: The check's name.
        check: What to run; ``None`` if there is none of that name.
        seed: Fixes its random numbers.
        reason: Why there is none.
    """

    def __init__(
        self, name: str, check: Check | None, seed: int = 0, reason: str = ""
    ) -> None:
        """Keep the check; nothing runs yet."""
        self.name = name
        self.seed = seed
        self._check = check
        self._reason = reason

    def __call__(self, estimator: EstimatorLike) -> None:
        """Run the check.

        Raises:
            AssertionError: It failed, or there is none of that name.
        """
        if self._check is None:
            raise CheckFailed(self._reason)
        self._check.run(Subject(make_estimator(estimator)), self.seed)

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
        checks = checks_for(Subject(estimator))
        found = {check.name: check for check in checks}
        for name in [*found, *(n for n in expected if n not in found)]:
            parameters.append(
                pytest.param(
                    estimator,
                    EstimatorCheck(name, found.get(name), seed, missing(name, checks)),
                    id=f"{estimator.name}-{name}",
                    marks=[pytest.mark.xfail(strict=True, reason=expected[name])]
                    if name in expected and name in found
                    else [],
                )
            )
    return pytest.mark.parametrize(("estimator", "check"), parameters)
