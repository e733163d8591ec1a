"""Figures with confidence intervals, and how they combine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

from scipy import special

LEVEL = 0.95
"""Confidence level of every interval in this package."""

Interval: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Measured:
    """A positive figure and its confidence interval."""

    value: float
    interval: Interval


def median_interval(values: Sequence[float]) -> Interval:
    """Distribution-free confidence interval of a median.

    The closest pair of order statistics whose binomial coverage is at least
    :data:`LEVEL` (Thompson 1936). Six values are the fewest that have one.

    Args:
        values: Independent measurements, at least six.

    Returns:
        The two order statistics.

    Example:
        >>> median_interval([3.0, 1.0, 2.0, 5.0, 4.0, 6.0])
        (1.0, 6.0)
    """
    ordered = sorted(values)
    below = 0
    while 2 * float(special.bdtr(below + 1, len(ordered), 0.5)) <= 1 - LEVEL:
        below += 1
    return ordered[below], ordered[-1 - below]


def median_time(block_medians: Sequence[float]) -> Measured:
    """Median of the medians of several blocks of calls, in seconds.

    Calls within a block share the state of the machine, so the blocks, not the calls,
    are the independent measurements.
    """
    return Measured(median(block_medians), median_interval(block_medians))


def efficiency(variance: Measured, seconds: Measured) -> Measured:
    """``1 / (variance * seconds)``: independent information bought per second.

    The interval combines those of its two factors on the logarithmic scale (the
    "MOVER" of Zou and Donner 2008). It is infinite where there is no variance.

    Example:
        >>> exact = Measured(0.0, (0.0, 0.0))
        >>> efficiency(exact, Measured(1e-3, (1e-3, 2e-3))).value
        inf
    """
    if variance.value == 0.0:
        return Measured(math.inf, (math.inf, math.inf))
    value = 1 / (variance.value * seconds.value)
    upward = math.hypot(
        math.log(variance.value / variance.interval[0]),
        math.log(seconds.value / seconds.interval[0]),
    )
    downward = math.hypot(
        math.log(variance.interval[1] / variance.value),
        math.log(seconds.interval[1] / seconds.value),
    )
    return Measured(value, (value * math.exp(-downward), value * math.exp(upward)))


def signal_to_noise(signal: float, error: float, variance: Measured) -> Measured:
    """The norm of a gradient over the standard deviation of one estimate of it.

    The interval combines those of its two factors as in :func:`efficiency`. That of the
    norm is the norm give or take the normal quantile times the root of the gradient's
    total squared error, which is exact for one coordinate and wider than needed for
    several (Székely and Bakirov 2003: of quadratic forms of one trace, that of one
    coordinate has the heaviest tail).

    Args:
        signal: The norm of the gradient.
        error: The root of the gradient's total squared error, zero if it is exact.
        variance: Total variance of one estimate.

    Example:
        >>> found = signal_to_noise(3.0, 0.0, Measured(4.0, (1.0, 9.0)))
        >>> found.value, [round(end, 9) for end in found.interval]
        (1.5, [1.0, 3.0])
    """
    if variance.value == 0.0:
        return Measured(math.inf, (math.inf, math.inf))
    value = signal / math.sqrt(variance.value)
    radius = -float(special.ndtri((1 - LEVEL) / 2)) * error
    if signal <= radius:  # it may be zero
        return Measured(value, (0.0, (signal + radius) / variance.interval[0] ** 0.5))
    downward = math.hypot(
        math.log(signal / (signal - radius)),
        math.log(variance.interval[1] / variance.value) / 2,
    )
    upward = math.hypot(
        math.log((signal + radius) / signal),
        math.log(variance.value / variance.interval[0]) / 2,
    )
    return Measured(value, (value * math.exp(-downward), value * math.exp(upward)))
