"""Which candidates come into question now."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator
from pgplugins.core.fit import fits_for_good
from pgplugins.errors import EstimatorError
from pgplugins.selection.audit import Audit, can_watch
from pgplugins.selection.facts import Facts
from pgplugins.selection.suited import misfits, relies_on_path, rows_of


class Standings(nn.Module):
    """What there is against each candidate: reasons in words, ``None`` if nothing.

    The distribution speaks first, then what the program did with past draws, then what
    is known of the path.

    Args:
        candidates: All of them.
        asked_for: The user has named them.
    """

    barred: Tensor

    def __init__(self, candidates: Sequence[Estimator], *, asked_for: bool) -> None:
        """Ask nothing yet."""
        super().__init__()
        self.facts = Facts()
        self.audit = Audit()
        # Those that turned out not to fit when they were to draw.
        self.register_buffer("barred", torch.zeros(len(candidates), dtype=torch.bool))
        # A tuple: the candidates' state is stored by who owns them.
        self.candidates = tuple(candidates)
        self._asked_for = asked_for
        # Asking is slow, and mostly says the same from draw to draw.
        self._known: tuple[tuple[object, bool], list[str | None]] | None = None

    def lasting(self, dist: Distribution) -> object:
        """Return what identifies a distribution about which the answers stay the same.

        ``None`` if they may be others for other parameters.
        """
        kind = kind_of(dist)
        return kind if self._known is not None and self._known[0][0] == kind else None

    def now(self, dist: Distribution) -> list[str | None]:
        """What the distribution and past calls say."""
        found = self._by_law(dist)
        barred = self.barred.tolist()
        for i, candidate in enumerate(self.candidates):
            if found[i] is None:
                found[i] = (
                    "it could not draw when it was to"
                    if barred[i]
                    else self.facts.against(candidate, dist)
                )
        able = [i for i, reason in enumerate(found) if reason is None]
        watchable = any(can_watch(self.candidates[i]) for i in able)
        if watchable and not self.audit.smooth:
            for i in able:
                if relies_on_path(self.candidates[i]):
                    found[i] = self.audit.words()
        if not self._asked_for:
            self._leave_out_dominated(found, dist)
        return found

    def safest(self, dist: Distribution) -> int | None:
        """Return the candidate that needs the least of the program.

        Where past calls speak against all, the distribution alone decides.
        """
        for reasons in (self.now(dist), self._by_law(dist)):
            able = [i for i, reason in enumerate(reasons) if reason is None]
            if able:
                return min(able, key=self._demands)
        return None

    def awaits_audit(self, dist: Distribution) -> bool:
        """Whether somebody waits for the path to be looked at."""
        if not self.audit.open:
            return False
        fits = self._by_law(dist)
        return any(
            reason is None and relies_on_path(candidate)
            for candidate, reason in zip(self.candidates, fits, strict=True)
        )

    def require_density(self, draw: Draw) -> None:
        """Find out at the first draw: some say no sooner that they have none.

        Raises:
            EstimatorError: The distribution does not tell its density.
        """
        try:
            _ = draw.log_prob
        except EstimatorError:
            self.facts.no_density.fill_(True)
            raise

    def bar(self, index: int) -> None:
        """Note that a candidate could not draw.

        It may yet where it was the density that could not be told: then the others are
        asked anew.
        """
        self.barred[index] |= ~self.facts.no_density

    def _by_law(self, dist: Distribution) -> list[str | None]:
        opaque = bool(self.facts.no_density)
        kind = (kind_of(dist), opaque)
        if self._known is not None and self._known[0] == kind:
            return list(self._known[1])
        found = misfits(
            self.candidates, dist, asked_for=self._asked_for, no_density=opaque
        )
        for_good = all(fits_for_good(c, dist) for c in self.candidates)
        self._known = (kind, found) if for_good else None
        return list(found)

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
