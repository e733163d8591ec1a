"""``lint``: a context manager and a decorator."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, overload

from pgplugins.diagnostics.lint.findings import LintReport
from pgplugins.diagnostics.lint.listening import Listening
from pgplugins.diagnostics.lint.memory import Memory
from pgplugins.diagnostics.lint.patches import listen, stop
from pgplugins.diagnostics.lint.roots import Roots
from pgplugins.diagnostics.lint.watching import Watching

P = ParamSpec("P")
R = TypeVar("R")


class Watch:
    """One stretch of a program that is watched."""

    def __init__(self) -> None:
        """Start to watch this thread."""
        self.report = LintReport()
        memory = Memory()
        self._roots = Roots(memory, self.report)
        watching: Any = Watching(memory, self._roots)
        self._listening = Listening(watching, self._roots)
        self._mode = watching  # whose types torch does not say
        listen(self._listening)
        self._mode.__enter__()

    def end(self, result: object = None) -> None:
        """Stop watching a program that has returned ``result``."""
        self._mode.__exit__(None, None, None)
        stop(self._listening)
        self._roots.close(result)


class Lint(AbstractContextManager[LintReport]):
    """What :func:`lint` returns: enter it, or decorate a function with it.

    Example:
        >>> import torch, warnings, pgplugins as pg
        >>> mu = torch.tensor(0.7, requires_grad=True)
        >>> policy = torch.distributions.Normal(mu, 1.3)
        >>> @pg.lint()
        ... def loss():
        ...     x = policy.rsample()
        ...     return ((x - 2) ** 2).detach() * policy.log_prob(x)
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     _ = loss()
        >>> print(caught[0].message)
        attached-score: A cost is multiplied with log_prob(x), but x = rsample() is ...
    """

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._watches: list[Watch] = []

    def __enter__(self) -> LintReport:
        """Start to watch this thread."""
        self._watches.append(Watch())
        return self._watches[-1].report

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop watching, and warn of what was found."""
        watch = self._watches.pop()
        watch.end()
        watch.report.warn()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return ``function``, watched whenever it runs.

        Args:
            function: Its findings become warnings at the end of each call.
        """

        @functools.wraps(function)
        def watched_function(*args: P.args, **kwargs: P.kwargs) -> R:
            watch = Watch()
            result = None
            try:
                result = function(*args, **kwargs)
            finally:
                watch.end(result)
                watch.report.warn()
            return result

        return watched_function


@overload
def lint() -> Lint: ...
@overload
def lint(function: Callable[P, R]) -> Callable[P, R]: ...
def lint(function: Callable[P, R] | None = None) -> Lint | Callable[P, R]:
    """Watch for mistakes in gradient estimators while a program runs.

    A context manager, whose report lists the findings, and a decorator. When the block
    or the function ends, each finding becomes a :class:`~pgplugins.errors.LintWarning`
    at the line that it is about. ``pgplugins_lint`` is the same as a pytest fixture,
    which fails the test instead.

    Losses and gradients stay what they are, bit by bit. A loss is judged when
    ``backward`` or ``torch.autograd.grad`` runs; where none of them does, a decorated
    function's result is taken for a loss, and a block is judged by its products alone.
    Products that Pyro and this library form themselves are not judged: they are tested.

    Args:
        function: What to watch, where ``lint`` is used as a bare decorator.

    Returns:
        The context manager; for a function, the function that is watched.

    Example:
        >>> import torch, warnings
        >>> mu = torch.tensor(0.7, requires_grad=True)
        >>> policy = torch.distributions.Normal(mu, 1.3)
        >>> warnings.simplefilter("ignore")
        >>> with lint() as report:
        ...     x = policy.rsample()
        ...     cost = (x - 2) ** 2
        ...     (cost.detach() * policy.log_prob(x)).backward()
        >>> [finding.rule for finding in report.findings]
        ['attached-score']
    """
    return Lint() if function is None else Lint()(function)
