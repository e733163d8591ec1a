"""``auto``: the estimator that chooses among others, by what past draws have shown."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pgplugins.core.draw import Delegation, Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.fit import misfit
from pgplugins.core.parts import describe
from pgplugins.core.path_guard import PathGuard
from pgplugins.errors import DiscontinuousCostWarning, EstimatorError
from pgplugins.selection.audit import Watched, can_watch, watch
from pgplugins.selection.candidates import built_in, named
from pgplugins.selection.measurement import Measurement, law_to_measure
from pgplugins.selection.standing import Standings, kind_of
from pgplugins.selection.suited import unguarded
from pgplugins.selection.turns import LOOK, Turns
from pgplugins.selection.words import why


@dataclass
class _Note:
    """What is to be found again of a draw that a candidate made."""

    index: int
    dist: Distribution
    measurement: Measurement | None = None
    watched: Watched | None = None


class Auto(Estimator):
    """The candidate with the least ``E|g|^2 T`` on past calls; unbiased ones only.

    The site's first calls are made by an estimator of one row that is right whatever
    the program does. What the program did with the draw then tells which candidates
    come into question, and these take turns until one is better by more than chance
    allows: ``|g|^2`` is the second moment of the gradient for the parameters of the
    site's own distribution, as one particle alone would give it, and the cost ``T`` is
    ten rows and those that a draw takes (Geffner and Domke 2020). Those passed over are
    looked at again later, the more rarely the worse they were. Where two are about as
    good, the one that comes first among the candidates draws: a later one has to be
    better by a fifth.

    Whose turn it is depends on past calls alone, so every estimate is unbiased, also
    while they take turns. Candidates that rely on a path come into question once score
    and path have been seen to agree.

    Args:
        candidates: Names or instances of unbiased estimators. The default are the
            built-in ones that suit the distribution.

    Raises:
        InputError: There is no candidate, one is there twice, or one is biased.
        InputTypeError: ``candidates`` is no sequence.
        UnknownEstimatorError: No estimator is registered under a name.

    Example:
        >>> import torch, pgplugins as pg
        >>> logit = torch.tensor(0.4, requires_grad=True)
        >>> auto = Auto()
        >>> for _ in range(60):
        ...     pg.expectation(
        ...         lambda x: (x - 0.3) ** 2,
        ...         torch.distributions.Bernoulli(logits=logit),
        ...         estimator=auto,
        ...         num_samples=16,
        ...     ).backward()
        >>> auto.choice
        'enumerate'
    """

    name: ClassVar[str] = "auto"
    traits: ClassVar[Traits] = Traits(
        unbiased=True, independent_rows=False, cost_evaluations="choice"
    )

    calls: Tensor

    def __init__(
        self, candidates: Sequence[str | Estimator | type[Estimator]] | None = None
    ) -> None:
        """Look the candidates up."""
        super().__init__()
        found = built_in() if candidates is None else named(candidates)
        self.candidates = nn.ModuleList(found)
        self.turns = Turns(len(found))
        self.guard = PathGuard()
        self.register_buffer("calls", torch.tensor(0))
        self.standings = Standings(found, asked_for=candidates is not None)
        # Who drew last, and what there is against each: to tell, not to decide.
        self._drawn: int | None = None
        self._against: list[str | None] = [None] * len(found)
        # Who draws while nothing changes, and from what; asking anew says the same.
        self._steady: tuple[int, object] | None = None
        self._rows = 1  # of the draw that the objective is not done with yet

    @property
    def in_use(self) -> Estimator:
        """The candidate that draws."""
        index = self._index
        return self if index is None else self._all[index]

    @property
    def choice(self) -> str | None:
        """The name of the candidate that draws; ``None`` before the first draw."""
        index = self._index
        return None if index is None else self._all[index].name

    @property
    def reason(self) -> str | None:
        """Why it is this one, with numbers; ``None`` before the first draw."""
        index = self._index
        if index is None:
            return None
        return why(self._all, index, self._against, self.turns.race, int(self.calls))

    def refusal(self, dist: Distribution) -> str | None:
        """Refuse what none of the candidates serves."""
        if self._steady is not None and self._steady[1] == kind_of(dist):
            return None
        reasons = []
        for candidate in self._all:
            reason = misfit(candidate, dist)
            if reason is None:
                return None
            reasons.append(f"{candidate.name}: {reason}")
        return "none of its candidates fits: " + "; ".join(reasons)

    def adopt(self, dist: Distribution, row: Tensor) -> Draw | None:
        """Return the draw of a row that others drew, if a candidate can take it."""
        for index, candidate in enumerate(self._all):
            if misfit(candidate, dist) is not None:
                continue
            draw = candidate.adopt(dist, row)
            if draw is not None:
                draw.delegation = Delegation(candidate, None, _Note(index, dist))
                return draw
        return None

    def draw(self, dist: Distribution) -> Draw:
        """Draw by the candidate whose turn it is.

        Raises:
            EstimatorError: None of the candidates can draw.
        """
        if self._steady is not None:
            index, kind = self._steady
            if kind == kind_of(dist):
                return self._drawn_by(index, self._draw_by(index, dist))
            self._steady = None
        while True:
            index = self._turn(dist)
            try:
                draw = self._draw_by(index, dist)
            except EstimatorError:
                before = self._against
                self.standings.bar(index)
                if self._standing(dist) == before:
                    raise
                continue
            return self._drawn_by(index, draw)

    def _drawn_by(self, index: int, draw: Draw) -> Draw:
        self._drawn, self._rows = index, draw.rows
        return draw

    def gradient_term(self, draw: Draw, cost: Tensor) -> Tensor | None:
        """Return the candidate's term; ``backward`` then tells what it was worth."""
        delegation, note = _of(draw)
        term = delegation.to.gradient_term(draw, cost)
        if note.watched is not None:
            term = note.watched.compare(cost, term, self.standings.audit)
        if note.measurement is not None:
            term = note.measurement.of(draw, cost, term)
        return term

    def update(self, draw: Draw, cost: Tensor) -> None:
        """Let the candidate learn, and see whose turn it is next."""
        delegation, note = _of(draw)
        delegation.to.update(draw, cost)
        self._rows = 1
        self.calls += 1
        changed = self.standings.facts.meet(draw)
        if changed or self._steady is None or int(self.calls) % LOOK == 0:
            if self.turns.holder is None:
                self.turns.seat(note.index)
            self._steady = None
            self._organise(note.dist)
            self._settle(note.dist)

    def retreat(self) -> bool:
        """Draw one row from now on, if a program has failed with several."""
        several, self._steady = self._rows > 1, None
        if several:
            self.standings.facts.failed.fill_(True)
        self._rows = 1
        return several

    def advance(self) -> None:
        """Take a retreat back: several rows were not what the program failed with."""
        self.standings.facts.failed.fill_(False)
        self._steady = None

    @property
    def _all(self) -> Sequence[Estimator]:
        return self.standings.candidates

    @property
    def _index(self) -> int | None:
        if self._drawn is not None:
            return self._drawn
        return self.turns.holder

    def _standing(self, dist: Distribution) -> list[str | None]:
        self._against = self.standings.now(dist)
        return self._against

    def _turn(self, dist: Distribution) -> int:
        """Return whose turn it is; the past decides."""
        able = [reason is None for reason in self._standing(dist)]
        index = self.turns.whose(able)
        if index is not None:
            return index
        safest = self.standings.safest(dist)
        if safest is None:
            raise EstimatorError(f"estimator 'auto' does not fit: {self.refusal(dist)}")
        return safest

    def _draw_by(self, index: int, dist: Distribution) -> Draw:
        candidate = self._all[index]
        note = _Note(index, dist)
        steady, guarded = self._steady is not None, not unguarded(candidate)
        law, race = dist, self.turns.race
        if not guarded or (race.contestants and not steady):
            law, own = law_to_measure(dist)
            if own is not None:
                guard = None if guarded else self.guard
                note.measurement = Measurement(index, own, race, guard)
        if not steady and can_watch(candidate) and self.standings.awaits_audit(dist):
            draw, note.watched = watch(candidate, law)
        else:
            draw = candidate.draw(law)
        if not self.standings.facts.looked and can_watch(candidate):
            self.standings.require_density(draw)
        own_law = None if note.measurement is None else law
        draw.delegation = Delegation(candidate, own_law, note)
        return draw

    def _organise(self, dist: Distribution) -> None:
        """Pass the turn on, or start a race if one is due."""
        self._heed_jumps(dist)
        able = [reason is None for reason in self._standing(dist)]
        if self.turns.race.contestants:
            self.turns.go_on(able)
            return
        holder = self.turns.holder
        if holder is None or not able[holder]:
            holder = self.standings.safest(dist)
            if holder is None:
                return
            self.turns.seat(holder)
        if self.standings.awaits_audit(dist):
            # First things first: who relies on a path, if they agree, races as well.
            watchable = [
                i for i, can in enumerate(able) if can and can_watch(self._all[i])
            ]
            if watchable:
                if holder not in watchable:
                    self.turns.seat(watchable[0])
                return
        self.turns.challenge(able, int(self.calls))

    def _settle(self, dist: Distribution) -> None:
        """Keep the answer where asking at the next draw would say the same."""
        if self.turns.race.contestants or self.standings.awaits_audit(dist):
            return
        kind, holder = self.standings.lasting(dist), self.turns.holder
        if kind is not None and holder is not None and self._against[holder] is None:
            self._steady = holder, kind

    def _heed_jumps(self, dist: Distribution) -> None:
        """Stop relying on a path that has turned out not to agree with the score."""
        audit = self.standings.audit
        if not audit.smooth:
            return
        fallen = any(getattr(c, "fallback", None) is not None for c in self._all)
        if not (fallen or self.guard.broken):
            return
        audit.condemn()
        where = describe(dist) if self.site is None else f"site {self.site!r}"
        warnings.warn(
            f'Estimator "auto" at {where}: {audit.words()} (or something after it is '
            "biased), so gradients since the path was relied on were biased. "
            "From now on candidates that need no path draw there.",
            DiscontinuousCostWarning,
            stacklevel=2,
        )


def _of(draw: Draw) -> tuple[Delegation, _Note]:
    delegation = draw.delegation
    if delegation is None or not isinstance(delegation.extra, _Note):
        raise EstimatorError(
            "auto was given a draw that it has not made; it corrects its own only. "
            "Write auto.gradient_term(auto.draw(dist), cost)."
        )
    return delegation, delegation.extra
