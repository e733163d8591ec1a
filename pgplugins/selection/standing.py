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
        self.candidates = candidates
        self._asked_for = asked_for
        # Asking is slow, and mostly says the same from draw to draw.
        self._known: tuple[tuple[object, bool], list[str | None]] | None = None

    def lasting(self, dist: Distribution) -> object:
        """Return what identifies a distribution about which the answers stay the same.

        ``None`` if they may be others for other parameters.
        """
        kind = kind_of(dist)
        return kind if self._known is not None and self._known[0][0] == kind else None

    def by_law(self, dist: Distribution, facts: Facts) -> list[str | None]:
        """What the distribution says."""
        opaque = bool(facts.no_density)
        kind = (kind_of(dist), opaque)
        if self._known is not None and self._known[0] == kind:
            return list(self._known[1])
        found = misfits(
            self.candidates, dist, asked_for=self._asked_for, no_density=opaque
        )
        for_good = all(fits_for_good(c, dist) for c in self.candidates)
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
        for i, candidate in enumerate(self.candidates):
            if found[i] is None:
                found[i] = (
                    "it could not draw when it was to"
                    if barred[i]
                    else facts.against(candidate, dist)
                )
        able = [i for i, reason in enumerate(found) if reason is None]
        if not audit.smooth and any(can_watch(self.candidates[i]) for i in able):
            for i in able:
                if relies_on_path(self.candidates[i]):
                    found[i] = audit.words()
        if not self._asked_for:
            self._leave_out_dominated(found, dist)
        return found

    def _leave_out_dominated(self, found: list[str | None], dist: Distribution) -> None:
        """Leave out what takes as many rows as the whole support has."""
        able = [i for i, reason in enumerate(found) if reason is None]
        exact = [i for i in able if self.candidates[i].name == "enumerate"]
        if not exact:
            return
        points = rows_of(self.candidates[exact[0]], dist)
        for i in able:
            rows = rows_of(self.candidates[i], dist)
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
        candidate = self.candidates[index]
        return candidate.traits.many_rows, relies_on_path(candidate), index


def kind_of(dist: Distribution) -> tuple[object, ...]:
    """Return what a candidate's fit depends on, parameters aside."""
    kinds: list[object] = [type(dist), dist.event_shape, dist.has_rsample]
    while isinstance(base := dist.__dict__.get("base_dist"), Distribution):
        dist = base
        kinds.append(type(dist))
    return tuple(kinds)
