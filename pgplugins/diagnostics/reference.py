"""What the estimates are measured against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.fit import misfit
from pgplugins.diagnostics.measurement import Contestant, flatten
from pgplugins.diagnostics.progress import track
from pgplugins.diagnostics.statistics import ALL, GradientStatistics, bias_test
from pgplugins.distribution import unmasked, unwrapped
from pgplugins.errors import InputError, InputTypeError, ShapeError
from pgplugins.estimators.enumerate import Enumerate

SIGNIFICANCE = 1e-6
"""A p-value below this is taken for a bias: one false alarm in a million rows."""

FACTOR = 4
"""How many times the runs of a row a sampled reference gets at most."""

NEGLIGIBLE = 0.01
"""A sampled reference may stop when its squared error is this part of all others'."""

Exact: TypeAlias = Mapping[str, Tensor] | Callable[[], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Reference:
    """A gradient, how well it is known, and where it comes from.

    Args:
        gradient: Shape ``(size,)``, float64.
        squared_error: Its variance, zero where it is exact, shape ``(size,)``.
        source: Says where it comes from, for the reader.
    """

    gradient: Tensor
    squared_error: Tensor
    source: str

    def error(self, at: slice = ALL) -> float:
        """Root of the total squared error of some coordinates."""
        return float(self.squared_error[at].sum().sqrt())


def given(exact: Exact, parameters: Mapping[str, Tensor]) -> Reference:
    """Take the user's exact gradient.

    Raises:
        InputTypeError: It is not a mapping of names to tensors.
        InputError: A name is missing or unknown, or an entry is not finite.
        ShapeError: An entry has not the shape of its parameter.
    """
    gradients = exact() if callable(exact) else exact
    if not isinstance(gradients, Mapping):
        raise InputTypeError(
            "compare: reference is a mapping of parameter names to exact gradients, or "
            f"a function that returns one; found a {type(gradients).__name__}."
        )
    if set(gradients) != set(parameters):
        raise InputError(
            f"compare: reference has {sorted(gradients)}, but the parameters are "
            f"{sorted(parameters)}; give an exact gradient for each."
        )
    ordered = []
    for name, parameter in parameters.items():
        entry = torch.as_tensor(gradients[name]).detach().to("cpu", torch.float64)
        if entry.shape != parameter.shape:
            raise ShapeError(
                f"compare: reference[{name!r}] has shape {tuple(entry.shape)}; the "
                f"parameter has shape {tuple(parameter.shape)}."
            )
        if not entry.isfinite().all():
            raise InputError(f"compare: reference[{name!r}] is not finite.")
        ordered.append(entry)
    return exactly(flatten(ordered), "the exact gradient that was given")


def exactly(gradient: Tensor, source: str) -> Reference:
    """A reference without error."""
    return Reference(gradient, torch.zeros_like(gradient), source)


def enumerable(distributions: Iterable[Distribution]) -> bool:
    """Whether enumerating all sites at once is possible and small enough."""
    by_support = Enumerate()
    rows = 1
    for dist in distributions:
        base = unmasked(unwrapped(dist))
        if misfit(by_support, base) is not None:
            return False
        rows *= by_support.draw(base).rows
    return rows <= by_support.max_rows


def enumerated(contestant: Contestant) -> Reference | None:
    """The gradient by enumeration, if that leaves nothing to chance.

    Args:
        contestant: Enumerates every site that names no other estimator.

    Returns:
        ``None`` if the objective has noise that enumeration does not reach.
    """
    stats = contestant.new_statistics()
    for _ in range(3):
        contestant.add_run(stats)
    if stats.variance > stats.rounding**2:
        return None
    return exactly(stats.mean, "the exact gradient by enumeration")


def sampled(field: Sequence[Contestant], runs: int) -> Reference:
    """The mean of the best unbiased estimator over many fresh runs.

    The best is the most efficient one. But if it needs a differentiable cost and
    contradicts an estimator that does not, the cost is not what it needs, and the other
    is believed.

    Args:
        field: All who were measured, at least one of them unbiased by its traits.
        runs: How many runs each of them was measured with.
    """
    fair = [c for c in field if c.unbiased]
    ranked = sorted(fair, key=lambda c: c.efficiency.value, reverse=True)
    best = ranked[0]
    if best.assumes_smooth_cost:
        best = next((c for c in ranked if _contradicts(c, best)), best)
    stats = best.new_statistics()
    rivals = [_total_error(c.stats) for c in field if c is not best]
    for _ in range(FACTOR):
        for _ in track(range(runs), f"reference ({best.label})"):
            best.add_run(stats)
        if rivals and _total_error(stats) < NEGLIGIBLE * min(rivals):
            break
    return Reference(
        stats.mean,
        stats.squared_error,
        f"{best.label} with {stats.runs:,} runs of its own",
    )


def _total_error(stats: GradientStatistics) -> float:
    return stats.squared_error.sum().item()


def _contradicts(other: Contestant, best: Contestant) -> bool:
    if other.assumes_smooth_cost:
        return False
    test = bias_test(best.stats, other.stats.mean, other.stats.squared_error)
    return test.p < SIGNIFICANCE
