"""Why a candidate draws, in words and numbers."""

from __future__ import annotations

from collections.abc import Sequence

from pgplugins.core.estimator import Estimator
from pgplugins.selection.race import Race
from pgplugins.selection.suited import NOT_MEANT


def why(
    candidates: Sequence[Estimator],
    index: int,
    standing: Sequence[str | None],
    race: Race,
    calls: int,
) -> str:
    """Say why a candidate draws, and what speaks against the others.

    Args:
        candidates: All of them.
        index: Which of them draws.
        standing: What there is against each.
        race: What they were compared by.
        calls: How many calls there have been.
    """
    names = [candidate.name for candidate in candidates]
    left_out: dict[str, list[str]] = {}
    for name, reason in zip(names, standing, strict=True):
        if reason is not None and reason != NOT_MEANT:
            left_out.setdefault(reason, []).append(name)
    parts = [_because(names, index, standing, race, calls)]
    parts += [f"without {', '.join(n)}: {reason}" for reason, n in left_out.items()]
    return "; ".join(parts)


def _because(
    names: Sequence[str],
    index: int,
    standing: Sequence[str | None],
    race: Race,
    calls: int,
) -> str:
    contestants = race.contestants
    if contestants:
        turns = ", ".join(names[i] for i in contestants)
        return f"taking turns at call {calls}: {turns}"
    others = [
        i
        for i, reason in enumerate(standing)
        if reason is None and i != index and race.standing(i) is not None
    ]
    mine = race.standing(index)
    if mine is None or not others:
        return "the only candidate so far"
    rivals = sorted(others, key=lambda i: race.last[i, 2].item())
    return f"E|g|^2 T is {_product(race, index)}, against " + ", ".join(
        f"{_product(race, i)} for {names[i]}" for i in rivals
    )


def _product(race: Race, index: int) -> str:
    standing = race.standing(index)
    assert standing is not None
    moment = standing.criterion / standing.cost
    return f"{moment:.3g} x {standing.cost:.0f}"
