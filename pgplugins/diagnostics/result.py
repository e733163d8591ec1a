"""What a comparison found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pgplugins.diagnostics.detail import Detail
from pgplugins.diagnostics.intervals import Interval, signal_to_noise
from pgplugins.diagnostics.measurement import Contestant
from pgplugins.diagnostics.reference import SIGNIFICANCE, Reference
from pgplugins.diagnostics.statistics import bias_limit, bias_test

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pgplugins.diagnostics.detail_table import DetailTable
    from pgplugins.diagnostics.table import ComparisonTable


@dataclass(frozen=True)
class Row:
    """One estimator on one objective. Intervals are at 95% confidence.

    Args:
        objective: The objective's name.
        estimator: The estimator's name, or the label that it was given.
        unbiased: What the estimator's traits promise, and the program does not break
            by cutting paths.
        bias_z: Deviation from the reference in standard errors, of the coordinate
            where it is largest.
        bias_p: Probability of a ``|bias_z|`` this large in any coordinate if there is
            no bias.
        bias_limit: The ``|bias_z|`` that chance exceeds once in a million such rows.
        variance: Total variance of the gradient of one call.
        variance_interval: Its confidence interval.
        snr: Signal to noise: the norm of the reference over the root of ``variance``.
        snr_interval: Its confidence interval.
        seconds: Median time of one call, forward and backward.
        seconds_interval: Its confidence interval.
        efficiency: ``1 / (variance * seconds)``, infinite where there is no variance.
        efficiency_interval: Its confidence interval.
        memory: The most bytes that the tensors of one call hold at one time.

    Example:
        The score function beside the straight-through gradient, whose bias (2 b in
        place of 1) the measurement finds as well:

        >>> import torch, pgplugins as pg
        >>> p = torch.tensor(0.5, requires_grad=True)
        >>> comparison = pg.compare(
        ...     (lambda b: b**2, lambda: torch.distributions.Bernoulli(p)),
        ...     ["score_function", "straight_through"],
        ...     params={"p": p},
        ...     num_samples=8,
        ...     num_runs=200,
        ...     seed=0,
        ... )
        >>> [(row.estimator, row.unbiased, row.biased) for row in comparison.rows]
        [('score_function', True, False), ('straight_through', False, True)]
        >>> row = comparison.rows[0]
        >>> abs(row.efficiency * row.variance * row.seconds - 1) < 1e-9
        True
    """

    objective: str
    estimator: str
    unbiased: bool
    bias_z: float
    bias_p: float
    bias_limit: float
    variance: float
    variance_interval: Interval
    snr: float
    snr_interval: Interval
    seconds: float
    seconds_interval: Interval
    efficiency: float
    efficiency_interval: Interval
    memory: int

    @property
    def biased(self) -> bool:
        """Whether it is biased by its traits, or found to be by measurement."""
        return not self.unbiased or self.bias_p < SIGNIFICANCE


class Comparison:
    """Estimators of one gradient, measured side by side.

    Args:
        objective: The objective's name.
        rows: One per estimator, in the order that was asked for.
        reference: What ``bias_z`` is measured against.
        notes: What the reader should know besides, such as estimators left out.
        by_parameter: Every estimator's figures parameter by parameter.

    Example:
        >>> import torch, pgplugins as pg
        >>> p = torch.tensor(0.3, requires_grad=True)
        >>> comparison = pg.compare(
        ...     (lambda b: (b - 0.45) ** 2, lambda: torch.distributions.Bernoulli(p)),
        ...     ["score_function", "enumerate"],
        ...     params={"p": p},
        ...     num_samples=4,
        ...     num_runs=50,
        ...     seed=0,
        ... )
        >>> comparison
        <Comparison of 2 estimators on expectation, best: enumerate>
        >>> comparison.best, comparison.reference
        ('enumerate', 'the exact gradient by enumeration')
        >>> [row.estimator for row in comparison.ranked]
        ['enumerate', 'score_function']
        >>> [row.estimator for row in comparison.leaders]  # nobody is as good
        ['enumerate']
        >>> print(comparison.table())
        expectation
        estimator       bias z  SNR  variance ...
        score_function  ...
        enumerate         +0.0  inf  0 exact ...
        >>> print(comparison.detail())
        expectation, by parameter
        parameter  estimator       bias z  variance               SNR
        p          score_function  ...
                   enumerate         +0.0  0 exact    inf (inf to inf)
        >>> comparison.to_dict()["rows"][1]["snr"]  # None: infinite is not for JSON
        >>> comparison.plot().get_ylabel()
        'total variance of the gradient'
    """

    def __init__(
        self,
        objective: str,
        rows: Sequence[Row],
        *,
        reference: str,
        notes: Sequence[str] = (),
        by_parameter: Sequence[Detail] = (),
    ) -> None:
        """Keep what was found."""
        self.objective = objective
        self.rows = list(rows)
        self.reference = reference
        self.notes = list(notes)
        self.by_parameter = list(by_parameter)

    @property
    def ranked(self) -> list[Row]:
        """The rows without bias, most efficient first."""
        fair = [row for row in self.rows if not row.biased]
        return sorted(fair, key=lambda r: (-r.efficiency, r.seconds))

    @property
    def best(self) -> str | None:
        """The most efficient estimator without bias; ``None`` if all are biased."""
        ranked = self.ranked
        return ranked[0].estimator if ranked else None

    @property
    def leaders(self) -> list[Row]:
        """The best row and those that this comparison cannot tell from it.

        Those are the rows without bias whose interval of the efficiency overlaps with
        the best one's; of estimators without variance, that of the time.
        """
        ranked = self.ranked
        return [row for row in ranked if _overlap(ranked[0], row)]

    def table(self) -> ComparisonTable:
        """Return a table for rich to print; ``str`` of it is plain text."""
        from pgplugins.diagnostics.table import ComparisonTable

        return ComparisonTable(self)

    def detail(self) -> DetailTable:
        """Return a table of :attr:`by_parameter`, to be printed as :meth:`table` is."""
        from pgplugins.diagnostics.detail_table import DetailTable

        return DetailTable(self)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw variance against time; see :func:`pgplugins.diagnostics.plots.draw`.

        Args:
            ax: Where to draw; a figure of its own by default.

        Returns:
            The axes that were drawn on.
        """
        from pgplugins.diagnostics.plots import draw, new_axes

        return draw(self, new_axes() if ax is None else ax)

    def to_dict(self, *, detail: bool = False) -> dict[str, Any]:
        """Return what was found as JSON types; what is infinite becomes ``None``.

        Args:
            detail: Include :attr:`by_parameter`.
        """
        rows = [asdict(row) | {"biased": row.biased} for row in self.rows]
        found = {
            "objective": self.objective,
            "reference": self.reference,
            "best": self.best,
            "leaders": [row.estimator for row in self.leaders],
            "notes": self.notes,
            "rows": rows,
        }
        if detail:
            found["by_parameter"] = [entry.to_dict() for entry in self.by_parameter]
        finite: dict[str, Any] = _finite(found)
        return finite

    def __repr__(self) -> str:
        """Name the objective and the winner."""
        return (
            f"<Comparison of {len(self.rows)} estimators on {self.objective}, "
            f"best: {self.best}>"
        )


def row_of(
    objective: str, contestant: Contestant, reference: Reference, memory: int
) -> Row:
    """Turn an estimator's measurements into a row."""
    test = bias_test(contestant.stats, reference.gradient, reference.squared_error)
    variance, seconds = contestant.variance, contestant.seconds
    efficiency = contestant.efficiency
    snr = signal_to_noise(reference.gradient.norm().item(), reference.error(), variance)
    return Row(
        objective=objective,
        estimator=contestant.label,
        unbiased=contestant.unbiased,
        bias_z=test.z,
        bias_p=test.p,
        bias_limit=bias_limit(contestant.stats, SIGNIFICANCE),
        variance=variance.value,
        variance_interval=variance.interval,
        snr=snr.value,
        snr_interval=snr.interval,
        seconds=seconds.value,
        seconds_interval=seconds.interval,
        efficiency=efficiency.value,
        efficiency_interval=efficiency.interval,
        memory=memory,
    )


def _overlap(best: Row, other: Row) -> bool:
    if math.isinf(best.efficiency):
        return (
            math.isinf(other.efficiency)
            and other.seconds_interval[0] <= best.seconds_interval[1]
        )
    return other.efficiency_interval[1] >= best.efficiency_interval[0]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
