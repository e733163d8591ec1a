"""Baselines: whether what is subtracted from a cost has seen its sample."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from pgplugins.diagnostics.lint.notes import Atom, Bits, Note, Parts


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
            own += weight / count
            if count > 1 and 1e-6 < abs(own / share) < 1 - 1e-6:
                return True
        elif abs(own) < abs(share) and own and _has_others(baseline.parts, atom):
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


def subtract(cost: Note, baseline: Note, densities: Bits, out: Note) -> None:
    """Remember what is learned and subtracted, and which draws it knows.

    A share of something is a penalty rather than a baseline, and so is a log-density.
    """
    parts = list((baseline.parts or {}).items())
    if len(parts) != 1 or parts[0][1] != 1.0:
        return
    (atom, _), *_ = parts
    if atom.params & ~cost.params and not atom.values & densities:
        out.learned = atom.params
        out.knows = atom.values & cost.values


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


def _has_others(parts: Parts, own: Atom) -> bool:
    """Whether a combination also holds what comes from other draws."""
    current = own.values | own.heard
    return any(not (atom.values | atom.heard) & current for atom in parts)


def levels(parts: Parts) -> Iterator[tuple[Atom, float]]:
    """Yield the atoms of a combination, and what they are averages and sums of."""
    for atom, share in parts.items():
        yield atom, share
        for inner, weight in levels(atom.of or {}):
            yield inner, share * atom.factor * weight
