"""Which candidates come into question now."""

from __future__ import annotations

from collections.abc import Sequence

from torch.distributions import Distribution

from pgplugins.core.estimator import Estimator
from pgplugins.core.fit import fits_for_good
from pgplugins.selection.audit import Audit, can_watch
from pgplugins.selection.facts import Facts
from pgplugins.selection.suited import misfits, relies_on_path, rows_of


class Standings:
    """What there is against each candidate: reasons in words, ``None`` if nothing.

    Args:
        candidates: All of them.
        asked_for: The user has named them.
    """

    def __init__(self, candidates: Sequence[Estimator], *, asked_for: bool) -> None:
        """Ask nothing yet."""
        self._candidates = candidates
        self._asked_for = asked_for
        # Asking is slow, and mostly says the same from draw to draw.
        self._known: tuple[object, list[str | None]] | None = None

    def by_law(self, dist: Distribution, facts: Facts) -> list[str | None]:
        """What the distribution says."""
        opaque = bool(facts.no_density)
        kind = (*_kinds(dist), dist.event_shape, dist.has_rsample, opaque)
        if self._known is not None and self._known[0] == kind:
            return list(self._known[1])
        found = misfits(
            self._candidates, dist, asked_for=self._asked_for, no_density=opaque
        )
        for_good = all(fits_for_good(c, dist) for c in self._candidates)
        self._known = (kind, found) if for_good else None
        return list(found)

    def now(
        self, dist: Distribution, barred: Sequence[bool], facts: Facts, audit: Audit
    ) -> list[str | None]:
        """What the distribution and past calls say.

        Args:
            dist: What is drawn from.
            barred: Those that could not draw.
            facts: What the program did with past draws.
            audit: Whether a path may be relied on.
        """
        found = self.by_law(dist, facts)
        for i, candidate in enumerate(self._candidates):
            if found[i] is None:
                found[i] = (
                    "it could not draw when it was to"
                    if barred[i]
                    else facts.against(candidate, dist)
                )
        able = [i for i, reason in enumerate(found) if reason is None]
        if not audit.smooth and any(can_watch(self._candidates[i]) for i in able):
            for i in able:
                if relies_on_path(self._candidates[i]):
                    found[i] = audit.words()
        if not self._asked_for:
            self._leave_out_dominated(found, dist)
        return found

    def _leave_out_dominated(self, found: list[str | None], dist: Distribution) -> None:
        """Leave out what takes as many rows as the whole support has."""
        able = [i for i, reason in enumerate(found) if reason is None]
        exact = [i for i in able if self._candidates[i].name == "enumerate"]
        if not exact:
            return
        points = rows_of(self._candidates[exact[0]], dist)
        for i in able:
            rows = rows_of(self._candidates[i], dist)
            if i not in exact and rows > 1 and rows >= points:
                found[i] = "enumeration is exact with no more rows"

    def safest(self, *found: Sequence[str | None]) -> int | None:
        """Return the candidate that needs the least of the program.

        Args:
            *found: What there is against each; where all are spoken against, what
                comes next decides.
        """
        for reasons in found:
            able = [i for i, reason in enumerate(reasons) if reason is None]
            if able:
                return min(able, key=self._demands)
        return None

    def _demands(self, index: int) -> tuple[bool, bool, int]:
        candidate = self._candidates[index]
        return candidate.traits.many_rows, relies_on_path(candidate), index


def _kinds(dist: Distribution) -> tuple[type, ...]:
    kinds = [type(dist)]
    while isinstance(base := dist.__dict__.get("base_dist"), Distribution):
        dist = base
        kinds.append(type(dist))
    return tuple(kinds)
