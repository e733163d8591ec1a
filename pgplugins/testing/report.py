"""What the kit found, check by check."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from io import StringIO
from typing import Any, Literal

from rich.box import ROUNDED, Box
from rich.console import Console
from rich.table import Table

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
    """

    check: str
    status: Status
    summary: str
    detail: str
    seconds: float


@dataclass(frozen=True)
class Report:
    """The outcome of the conformance kit for one estimator.

    Args:
        estimator: Its name.
        results: One per check, in the order in which they ran.
        comparisons: How many numbers were compared with exact ones by sampling.
        false_failures: Bound on the probability that a right estimator fails any.
    """

    estimator: str
    results: tuple[Result, ...]
    comparisons: int
    false_failures: float

    @property
    def failures(self) -> list[Result]:
        """The checks that failed, stale expected failures among them."""
        return [r for r in self.results if r.status in ("failed", "stale")]

    @property
    def passed(self) -> bool:
        """Whether nothing failed that was not expected to."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data, for JSON."""
        return {**asdict(self), "passed": self.passed}

    def table(self, box: Box | None = ROUNDED) -> Table:
        """Return a table for rich; ``str(report)`` gives plain text."""
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
            f"{outcome}, {len(self.results)} checks in {seconds:.1f} s; false failures "
            f"below {self.false_failures:.1g}"
        )
