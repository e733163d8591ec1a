"""Streaming statistics of a repeated gradient estimate, with intervals and a test.

Everything is accumulated in float64 on the CPU, whatever the gradient's own type, and
takes memory for a few gradients, however many runs there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy import special
from torch import Tensor

from pgplugins.diagnostics.intervals import LEVEL, Interval, Measured

ALL = slice(None)


class GradientStatistics:
    """Mean, variance and recursive residuals of independent gradient estimates.

    Run ``i`` contributes the squared recursive residual
    ``(1 - 1/i) * |g_i - mean(g_1..g_{i-1})|^2`` (Brown, Durbin and Evans 1975, eq. 8).
    Their sum is exactly the sum of squares about the final mean (Welford 1962), and
    each has the variance as its expectation, so their own spread says how well the
    variance is known without keeping the gradients. They are kept for every coordinate,
    for every parameter (the sum over its coordinates) and for the whole gradient.

    Args:
        sizes: Number of coordinates of each parameter; the gradient holds them in turn.

    Example:
        >>> stats = GradientStatistics(1)
        >>> for g in (1.0, 2.0, 6.0):
        ...     stats.add(torch.tensor([g]))
        >>> stats.mean.item(), round(stats.variance, 6)
        (3.0, 7.0)
    """

    def __init__(self, *sizes: int) -> None:
        """Start without a run."""
        self.runs = 0
        self.size = sum(sizes)
        self.mean = torch.zeros(self.size, dtype=torch.float64)
        self._owner = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        self._parameters = len(sizes)
        # Coordinates, then parameters, then the whole.
        levels = torch.zeros(self.size + len(sizes) + 1, dtype=torch.float64)
        self._residual = levels
        self._spread = levels
        self._largest = 0.0
        self._epsilon = 0.0

    def add(self, gradient: Tensor) -> None:
        """Take in one gradient, shape ``(size,)``."""
        self._epsilon = torch.finfo(gradient.dtype).eps
        gradient = gradient.detach().to("cpu", torch.float64)
        self._largest = max(self._largest, gradient.abs().max().item())
        self.runs += 1
        step = gradient - self.mean
        self.mean = self.mean + step / self.runs
        if self.runs == 1:
            return
        squares = step * (gradient - self.mean)
        whole = squares.new_zeros(self._parameters).index_add(0, self._owner, squares)
        levels = torch.cat([squares, whole, squares.sum().reshape(1)])
        change = levels - self._residual
        self._residual = self._residual + change / (self.runs - 1)
        self._spread = self._spread + change * (levels - self._residual)

    @property
    def variance(self) -> float:
        """Unbiased total variance: the trace of the covariance of one gradient."""
        return self._residual[-1].item()

    @property
    def squared_error(self) -> Tensor:
        """Estimated variance of :attr:`mean`, coordinate by coordinate."""
        return self._residual[: self.size] / self.runs

    @property
    def rounding(self) -> float:
        """What floating-point summation may have moved a coordinate by."""
        # A coordinate near zero is often a difference of large terms, so the largest
        # coordinate sets the scale for all.
        return 100 * self._epsilon * self._largest

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the scaled chi-square that :attr:`variance` is like.

        They match the observed spread of the residuals (Satterthwaite 1946), which for
        one coordinate is the kurtosis adjustment of Box (1953) and O'Neill (2014).
        """
        return self._freedom(-1)

    def variance_interval(self) -> Interval:
        """Confidence interval of :attr:`variance`, by its :attr:`freedom`.

        Somewhat too short for few runs
        (in simulations with 60 runs it covered 94% for normal and 91% for exponential
        estimates), and more so for tails so heavy that the runs do not show them.
        """
        return self._measured(-1).interval

    def variance_of_parameter(self, number: int) -> Measured:
        """Total variance of one parameter's gradient, with its interval."""
        return self._measured(self.size + number)

    def variance_of_coordinate(self, number: int) -> Measured:
        """Variance of one coordinate of the gradient, with its interval."""
        return self._measured(number)

    def _freedom(self, level: int) -> float:
        centre, spread = self._residual[level].item(), self._spread[level].item()
        count = self.runs - 1
        return 2 * (centre * count) ** 2 / spread if spread else math.inf

    def _measured(self, level: int) -> Measured:
        centre, freedom = self._residual[level].item(), self._freedom(level)
        if math.isinf(freedom) or centre == 0.0:
            return Measured(centre, (centre, centre))
        tail = (1 - LEVEL) / 2
        return Measured(
            centre,
            (
                freedom * centre / float(special.chdtri(freedom, tail)),
                freedom * centre / float(special.chdtri(freedom, 1 - tail)),
            ),
        )


@dataclass(frozen=True)
class BiasTest:
    """How far the mean of an estimate lies from the gradient.

    Args:
        z: The coordinate with the largest ``|z|``, with its sign.
        p: Probability of a ``|z|`` this large in any coordinate if there is no bias.
    """

    z: float
    p: float


def bias_test(
    stats: GradientStatistics,
    exact: Tensor,
    squared_error: Tensor,
    *,
    at: slice = ALL,
    heavy_tails: bool = False,
) -> BiasTest:
    """Test the mean of an estimate against a gradient.

    Both sides' standard errors enter, and what rounding may account for. The p-value is
    that of Student's t, adjusted for the number of coordinates by Šidák's inequality
    (1967), which holds however the coordinates depend on one another.

    Args:
        stats: The estimate.
        exact: The gradient, shape ``(size,)``.
        squared_error: Variance of ``exact`` (zero if it is known), shape ``(size,)``.
        at: The coordinates to test.
        heavy_tails: Trust the standard error no more than its own spread allows: the
            degrees of freedom are :attr:`GradientStatistics.freedom` if that is less.

    Returns:
        The largest deviation and its p-value.

    Example:
        >>> stats = GradientStatistics(1)
        >>> for g in (1.0, 2.0, 6.0):
        ...     stats.add(torch.tensor([g]))
        >>> round(bias_test(stats, torch.tensor([0.0]), torch.tensor([0.0])).z, 2)
        1.96
    """
    error = (stats.squared_error + squared_error)[at].sqrt() + stats.rounding
    difference = (stats.mean - exact)[at]
    z = torch.where(difference == 0, 0.0, difference / error)
    worst = z[z.abs().argmax()].item()
    freedom = float(stats.runs - 1)
    if heavy_tails:
        freedom = min(freedom, stats.freedom)
    single = 2 * float(special.stdtr(freedom, -abs(worst)))
    # 1 - (1 - p)^size without cancellation; p may round to 1 where z is 0.
    p = 1.0 if single >= 1 else -math.expm1(z.numel() * math.log1p(-single))
    return BiasTest(z=worst, p=p)


def bias_limit(stats: GradientStatistics, significance: float) -> float:
    """The ``|z|`` of :func:`bias_test` from which on its p-value is significant.

    Example:
        >>> stats = GradientStatistics(10_000)
        >>> stats.runs = 1000
        >>> round(bias_limit(stats, 1e-6), 1)
        6.5
    """
    single = -math.expm1(math.log1p(-significance) / stats.size)
    return -float(special.stdtrit(float(stats.runs - 1), single / 2))
