"""What the kit found, check by check."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from io import StringIO
from typing import Any, Literal

from rich.box import ROUNDED, Box
from rich.console import Console
from rich.table import Table

from pgplugins.testing.evidence import SEEN
from pgplugins.testing.registry import Omission

Status = Literal["passed", "failed", "expected failure", "stale"]


@dataclass(frozen=True)
class Result:
    """One check.

    Args:
        check: The check's name.
        status: ``"passed"``, ``"failed"``, ``"expected failure"``, or ``"stale"`` for
            an expected failure that passed or does not exist.
        summary: What the check proves.
        detail: What was found.
        seconds: How long it took.
        resolution: The relative error of a gradient that its sampling would have seen;
            ``None`` if it compares none, or exactly.

    Example:
        >>> from pgplugins.testing import Report
        >>> result = Result("shape", "failed", "Draws have a shape", "it is (2,)", 0.1)
        >>> report = Report("mine", (result,), (), comparisons=0, false_failures=0.0)
        >>> report.failures[0].detail
        'it is (2,)'
    """

    check: str
    status: Status
    summary: str
    detail: str
    seconds: float
    resolution: float | None = None


@dataclass(frozen=True)
class Report:
    """The outcome of the conformance kit for one estimator.

    Args:
        estimator: Its name.
        results: One per check, in the order in which they ran.
        omissions: The checks that do not apply, and why.
        comparisons: How many numbers were compared with exact ones by sampling.
        false_failures: Bound on the probability that a right estimator fails any.

    Example:
        A right estimator, of which a check is expected to fail that does not exist:

        >>> import pgplugins as pg
        >>> report = pg.testing.run_checks("enumerate", expected_failures=["gradients"])
        >>> report.passed, [(found.check, found.status) for found in report.failures]
        (False, [('gradients', 'stale')])
        >>> report.false_failures < 1e-4, 0 < report.resolution <= 0.1
        (True, True)
        >>> print(report)
        enumerate: 1 failed, ...
        >>> report.table().row_count == len(report.results) + len(report.omissions)
        True
        >>> sorted(report.to_dict())[:4]
        ['comparisons', 'estimator', 'false_failures', 'omissions']
    """

    estimator: str
    results: tuple[Result, ...]
    omissions: tuple[Omission, ...]
    comparisons: int
    false_failures: float

    @property
    def failures(self) -> list[Result]:
        """The checks that failed, stale expected failures among them."""
        return [r for r in self.results if r.status in ("failed", "stale")]

    @property
    def resolution(self) -> float:
        """The relative error that every check would have seen; zero if none sampled."""
        return max((r.resolution for r in self.results if r.resolution), default=0.0)

    @property
    def passed(self) -> bool:
        """Whether nothing failed that was not expected to."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data, for JSON."""
        return {
            **asdict(self),
            "passed": self.passed,
            "resolution": self.resolution,
        }

    def table(self, box: Box | None = ROUNDED) -> Table:
        """Return a table for rich; ``str(report)`` gives plain text.

        Args:
            box: Its frame; ``None`` for none.
        """
        table = Table(
            title=f"{self.estimator}: {self._headline()}",
            title_justify="left",
            box=box,
            pad_edge=box is not None,
        )
        for heading in ("check", "result", "found"):
            table.add_column(heading, overflow="fold")
        for result in self.results:
            table.add_row(result.check, result.status, result.detail)
        for omission in self.omissions:
            table.add_row(omission.check, "not run", omission.reason)
        return table

    def __str__(self) -> str:
        """The table as plain text."""
        out = StringIO()
        console = Console(file=out, width=100_000, color_system=None, markup=False)
        console.print(self.table(None))
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())

    def _headline(self) -> str:
        seconds = sum(r.seconds for r in self.results)
        count = len(self.failures)
        outcome = f"{count} failed" if count else "passed"
        return (
            f"{outcome}, {len(self.results)} checks in {seconds:.1f} s; would see "
            f"{self._seen()}; false failures below {self.false_failures:.1g}"
        )

    def _seen(self) -> str:
        coarse = sum((r.resolution or 0.0) > SEEN for r in self.results)
        tenth = f"an error of {100 * SEEN:.0f}%"
        if not coarse:
            return tenth
        return f"{tenth}, or {100 * self.resolution:.0f}% in {coarse} of them"
