"""Pytest plugin: ``pytest --pgplugins-estimator NAME`` runs the conformance kit.

The fixture ``pgplugins_lint`` watches a test as ``pgplugins.lint`` does.

No test file is needed: every check that applies to the estimator becomes a test. Files
and folders that are named on the command line are collected as well.

Pytest imports this module at every start, so it imports neither torch nor pgplugins
before the option is used; that is why it lies beside the package and not in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

_WATCH = pytest.StashKey[Any]()
_OPTION = "--pgplugins-estimator"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("pgplugins").addoption(
        _OPTION,
        action="append",
        default=[],
        metavar="NAME",
        help="run the conformance kit of pgplugins on an installed estimator",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Look the estimators up, so that a misspelled name ends the run at once."""
    names = config.getoption(_OPTION)
    if not names:
        return
    from pgplugins import PgpluginsError, estimator

    for name in names:
        try:
            estimator(name)
        except PgpluginsError as error:
            raise pytest.UsageError(f"{_OPTION} {name}: {error}") from error
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = []  # the kit alone, unless tests were asked for by their paths


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the checks to the tests."""
    for name in config.getoption(_OPTION):
        collector = _Kit.from_parent(session, name=name)
        items.extend(collector.collect())


@pytest.fixture
def pgplugins_lint(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Fail a test that makes a mistake in a gradient estimator, as pg.lint finds them.

    Its value is the report.
    """
    from pgplugins.diagnostics.lint.session import Watch

    with ExitStack() as stack:
        watch = Watch()
        stack.callback(watch.end)
        request.node.stash[_WATCH] = (stack, watch.report)
        yield watch.report


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Judge a test as soon as it has run, so that it fails and not its teardown."""
    result = yield
    watched = pyfuncitem.stash.get(_WATCH, None)
    if watched is not None:
        stack, report = watched
        stack.close()
        if report.findings:
            pytest.fail(str(report), pytrace=False)
    return result


class _Kit(pytest.Collector):
    """The checks of one estimator."""

    def collect(self) -> Iterator[pytest.Item]:
        """Yield one item per check that applies."""
        from pgplugins import estimator
        from pgplugins.testing.registry import checks_for
        from pgplugins.testing.subject import Subject

        subject = Subject(estimator(self.name))
        for check in checks_for(subject):
            yield _CheckItem.from_parent(
                self, name=check.name, check=check, subject=subject
            )


class _CheckItem(pytest.Item):
    """One check of one estimator."""

    def __init__(self, *, check: Any, subject: Any, **options: Any) -> None:
        super().__init__(**options)
        self._check = check
        self._subject = subject

    def runtest(self) -> None:
        """Run the check."""
        self._check.run(self._subject, 0)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Show what the check found, without this library's own stack."""
        from pgplugins.testing.evidence import CheckFailed

        if isinstance(excinfo.value, CheckFailed):
            return f"{self._check.summary}.\n{excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, None, str]:
        """Say which estimator and which check."""
        return "pgplugins", None, f"{self._subject.name}-{self.name}"
