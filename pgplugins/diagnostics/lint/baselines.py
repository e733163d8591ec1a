"""Baselines: whether what is subtracted from a cost has seen its sample."""

from __future__ import annotations

from torch import Tensor

from pgplugins.diagnostics.lint.notes import Bits, Note, Parts


def contains_own(cost: Note | None, baseline: Note | None) -> bool:
    """Whether ``baseline``, an average, contains each cost that it is subtracted from.

    A leave-one-out average holds the sum of all costs and takes the own one away again,
    so what is left of it is zero.
    """
    if cost is None or baseline is None or not cost.parts or not baseline.parts:
        return False
    averages = _averages(baseline.parts)
    for atom, share in cost.parts.items():
        if share == 0.0:
            continue
        own = baseline.parts.get(atom, 0.0)
        if atom in averages:
            weight, count = averages[atom]
            if count > 1 and abs(own + weight / count) > 1e-6 * abs(share):
                return True
        elif own and _has_history(baseline.parts, atom.values | atom.heard):
            return True
    return False


def subtracts_mean(costs: Tensor, out: Tensor) -> bool:
    """Whether a number of Python's that was subtracted is the mean of all costs."""
    if costs.numel() < 2 or costs.shape != out.shape or not out.is_floating_point():
        return False
    held, left = costs.detach(), out.detach()
    size = held.abs().amax()
    return bool((left.mean().abs() < 1e-6 * size) & (held.mean().abs() > 1e-4 * size))


def rescaled(weight: Note) -> bool:
    """Whether a mean that holds the own cost was made up for, by ``n / (n - 1)``."""
    averages = _averages(weight.parts or {})
    for atom, share in (weight.parts or {}).items():
        if share and atom in averages:
            total, count = averages[atom]
            if abs(abs(share + total / count) - 1.0) < 1e-5:
                return True
    return False


def learned_from_sample(weight: Note, draws: Bits, densities: Bits) -> list[Parts]:
    """Return learned values of the sample that are subtracted from its cost.

    Only a single draw is judged: of several that were put together, a value may have
    come before the one that it meets. Log-densities are costs.
    """
    if draws & (draws - 1) or not weight.parts:
        return []
    moving = {
        atom: share
        for atom, share in expanded(weight.parts).items()
        if atom.values & draws and share and not atom.values & densities
    }
    costs = [share for atom, share in moving.items() if not atom.params]
    if not costs:
        return []
    return [
        {atom: share}
        for atom, share in moving.items()
        if atom.params and all(share * cost < 0 for cost in costs)
    ]


def expanded(parts: Parts) -> Parts:
    """Replace averages and sums by what they are averages and sums of."""
    total: Parts = {}
    for atom, share in parts.items():
        inner = {atom: 1.0} if atom.of is None else expanded(atom.of)
        for part, weight in inner.items():
            total[part] = total.get(part, 0.0) + share * atom.factor * weight
    return total


def _averages(parts: Parts) -> dict[object, tuple[float, int]]:
    """Weights of the means in a combination, by what they are the means of."""
    found: dict[object, tuple[float, int]] = {}
    for mean, share in parts.items():
        for atom, inner in (mean.of or {}).items():
            weight, _ = found.get(atom, (0.0, 1))
            found[atom] = (weight + share * mean.factor * inner, mean.count)
    return found


def _has_history(parts: Parts, current: Bits) -> bool:
    """Whether a combination also holds what does not come from the current draws."""
    return any(not (atom.values | atom.heard) & current for atom in parts)
