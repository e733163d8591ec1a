"""Means against the truth, with a budget for false alarms.

Every comparison of one number with its exact value may fail a right estimator with
probability ``FALSE_ALARM``, in the normal limit. The kit counts its comparisons, so
the sum is a bound for the whole kit, however they depend on one another (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Final

import torch
from torch import Tensor

FALSE_ALARM: Final = 1e-8
LIMIT: Final = NormalDist().inv_cdf(1 - FALSE_ALARM / 2)
SEEN: Final = 0.1
"""The relative error that sampling goes on for until it would be seen."""
_POWER: Final = 2.0  # standard errors beyond the limit: seen with probability 0.98
_MARGIN: Final = 1.3  # more samples than a look says are needed, which is noisy
_FURTHEST: Final = 1000.0  # that a look may be from clear


class CheckFailed(AssertionError):
    """What a check found, in a sentence."""


@dataclass
class Ledger:
    """What a kit has compared so far.

    Args:
        comparisons: How many numbers were compared with their exact values by sampling.
        largest: The largest deviation, as a share of the allowed one.
        deviations: All of them, in standard errors.
        resolution: The relative error that the check at hand would have seen in every
            mean that it has sampled; ``None`` while it has sampled none.
    """

    comparisons: int = 0
    largest: float = 0.0
    deviations: list[float] = field(default_factory=list)
    resolution: float | None = None

    @property
    def false_alarms(self) -> float:
        """Bound on the probability that a right estimator fails any comparison."""
        return self.comparisons * FALSE_ALARM


@dataclass(frozen=True)
class Verdict:
    """One look at some samples."""

    worst: int
    ratio: float  # deviation over what is allowed; beyond 1 is a failure
    z: float
    mean: Tensor
    resolution: float

    @property
    def clear(self) -> bool:
        """Whether an error of a tenth would have been seen."""
        return self.resolution <= SEEN

    def needed(self, size: int) -> int:
        """How many samples would have been enough, going by the ``size`` there were."""
        short = min(self.resolution / SEEN, _FURTHEST)
        return math.ceil(_MARGIN * size * short**2)


def look(samples: Tensor, exact: Tensor, ledger: Ledger | None = None) -> Verdict:
    """Compare the mean of independent samples with the truth.

    The allowed deviation is that of Student's t, widened for the samples' skewness
    (the first Edgeworth term of the studentised mean, Hall 1992, section 2.6), plus
    what rounding may account for.

    Args:
        samples: Shape ``(samples, coordinates)``.
        exact: Shape ``(coordinates,)``.
        ledger: Where the comparisons are counted.

    Example:
        >>> wrong = torch.linspace(0.9, 1.0, 1000).unsqueeze(-1)
        >>> look(wrong, torch.ones(1)).ratio > 1
        True
    """
    rounding = 1e-9 if samples.dtype == torch.float64 else 1e-4
    samples, exact = samples.detach().double(), exact.detach().double()
    n = samples.shape[0]
    mean = samples.mean(0)
    centred = samples - mean
    spread = centred.square().mean(0).sqrt()
    skew = (centred / spread.clamp_min(1e-300)).pow(3).mean(0).abs()
    error = spread / math.sqrt(max(n - 1, 1))
    student = LIMIT + (LIMIT**3 + LIMIT) / (4 * n)
    allowed = student + skew * (2 * LIMIT**2 + 1) / (6 * math.sqrt(n))
    size = exact.abs().max().clamp_min(1e-3)
    tolerance = allowed * error + rounding * (1 + size)
    deviation = (mean - exact).abs()
    ratio = torch.where(mean.isfinite(), deviation / tolerance, math.inf)
    worst = int(ratio.argmax())
    # Small coordinates are held to the size of the large ones.
    scale = exact.abs().clamp_min(0.2 * float(size))
    resolution = ((allowed + _POWER) * error / scale).max()
    if ledger is not None:
        ledger.comparisons += exact.numel()
        ledger.largest = max(ledger.largest, float(ratio[worst]))
        ledger.deviations += (
            ((mean - exact) / (error + rounding * (1 + size))).flatten().tolist()
        )
    return Verdict(
        worst,
        float(ratio[worst]),
        float((deviation / error.clamp_min(1e-300))[worst]),
        mean,
        float(resolution.nan_to_num(math.inf)),
    )


def require_mean(
    draw: Callable[[int], Tensor],
    exact: Tensor,
    sizes: Sequence[int],
    names: Sequence[str],
    what: str,
    ledger: Ledger,
) -> Verdict:
    """Sample until the mean is seen to be right or wrong, in a few growing looks.

    Every look adds samples to those of the last, no more than that says are needed; the
    first that is clear ends the test. The budget counts every look, so that it does not
    matter how they hang together.

    Args:
        draw: Returns that many independent samples, ``(size, coordinates)``.
        exact: Their exact mean.
        sizes: How many samples each look has in all at most, growing.
        names: Of the coordinates, for the message.
        what: What is estimated, for the message.
        ledger: Where the comparisons are counted.

    Raises:
        CheckFailed: The mean is not the exact value.
    """
    verdict: Verdict | None = None
    size = sizes[0]
    samples = exact.new_zeros(0, *exact.shape)
    for most in sizes:
        if verdict is not None:
            size = max(size + 1, min(most, verdict.needed(size)))
        more = draw(size - len(samples)).detach()
        if more.shape[1:] != exact.shape:
            raise CheckFailed(
                f"{what} has shape {tuple(more.shape[1:])} per sample instead of "
                f"{tuple(exact.shape)}"
            )
        samples = torch.cat([samples.to(more), more])
        verdict = look(samples, exact, ledger)
        if verdict.ratio > 1:
            raise CheckFailed(describe(verdict, exact, names, what, size))
        if verdict.clear:
            break
    assert verdict is not None
    ledger.resolution = max(ledger.resolution or 0.0, verdict.resolution)
    return verdict


def describe(
    verdict: Verdict, exact: Tensor, names: Sequence[str], what: str, size: int
) -> str:
    """Say how a mean differs from the truth."""
    i = verdict.worst
    found, truth = float(verdict.mean[i]), float(exact[i])
    share = f", {found / truth:.3g} of it" if abs(truth) > 1e-12 else ""
    return (
        f"{what} for {names[i]!r} is {found:.6g} on average over {size:,} samples; "
        f"exactly {truth:.6g}{share} ({verdict.z:.1f} standard errors away)"
    )
