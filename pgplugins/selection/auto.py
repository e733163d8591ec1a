"""``auto``: the estimator that chooses among others, by what past draws have shown."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pgplugins.core.control_variate import Attached
from pgplugins.core.draw import Delegation, Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.fit import misfit
from pgplugins.core.own_parameters import OwnParameters, own_law
from pgplugins.core.parts import describe
from pgplugins.core.path_guard import PathGuard
from pgplugins.errors import (
    DiscontinuousCostWarning,
    EstimatorError,
    InputError,
    InputTypeError,
)
from pgplugins.plugins.registry import estimator as make_estimator
from pgplugins.selection.audit import Audit, Watched, can_watch, watch
from pgplugins.selection.facts import BUDGET, Facts
from pgplugins.selection.race import Race
from pgplugins.selection.standing import Standings, kind_of
from pgplugins.selection.suited import DEFAULT, relies_on_path
from pgplugins.selection.words import why

_LOOK: Final = 25  # calls from one look at what is due to the next


@dataclass
class _Note:
    """What is to be found again of a draw that a candidate made."""

    index: int
    dist: Distribution
    own: OwnParameters | None = None
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

    incumbent: Tensor
    calls: Tensor
    raced: Tensor
    barred: Tensor
    duel: Tensor

    def __init__(
        self, candidates: Sequence[str | Estimator | type[Estimator]] | None = None
    ) -> None:
        """Look the candidates up."""
        super().__init__()
        self.asked_for = candidates is not None
        found = _default() if candidates is None else _checked(candidates)
        self.candidates = nn.ModuleList(found)
        size = len(found)
        self.race = Race(size)
        self.audit = Audit()
        self.guard = PathGuard()
        self.facts = Facts()
        self.register_buffer("incumbent", torch.tensor(-1))
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("duel", torch.tensor(False))
        # The call at which each has last been raced; -1 before.
        self.register_buffer("raced", torch.full((size,), -1))
        # Those that turned out not to fit when they were to draw.
        self.register_buffer("barred", torch.zeros(size, dtype=torch.bool))
        self._fit: tuple[object, list[str | None]] | None = None
        self._latest: tuple[int, list[str | None]] | None = None

        self._standings = Standings(found, asked_for=self.asked_for)
        # Who drew last, and what there is against each: to tell, not to decide.
        self._drawn: int | None = None
        self._against: list[str | None] = [None] * size
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
        return why(self._all, index, self._against, self.race, int(self.calls))

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
                self.barred[index] |= ~self.facts.no_density
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
            term = note.watched.compare(cost, term, self.audit)
        if note.own is not None:
            self._measure(note, note.own, draw, cost)
            if _unguarded(delegation.to):
                # Its slope is what each cost counts for in the loss.
                probe = note.own.probe
                term = probe if term is None else term + probe
        return term

    def update(self, draw: Draw, cost: Tensor) -> None:
        """Let the candidate learn, and see whose turn it is next."""
        delegation, note = _of(draw)
        delegation.to.update(draw, cost)
        self._rows = 1
        self.calls += 1
        changed = self.facts.meet(draw)
        if changed or self._steady is None or int(self.calls) % _LOOK == 0:
            if self.incumbent < 0:
                self.incumbent.fill_(note.index)
            self._steady = None
            self._organise(note.dist)
            self._settle(note.dist)

    def retreat(self) -> bool:
        """Draw one row from now on, if a program has failed with several."""
        several, self._steady = self._rows > 1, None
        if several:
            self.facts.failed.fill_(True)
        self._rows = 1
        return several

    def advance(self) -> None:
        """Take a retreat back: several rows were not what the program failed with."""
        self.facts.failed.fill_(False)
        self._steady = None

    @property
    def _all(self) -> Sequence[Estimator]:
        return self._standings.candidates

    @property
    def _index(self) -> int | None:
        if self._drawn is not None:
            return self._drawn
        return int(self.incumbent) if self.incumbent >= 0 else None

    def _standing(self, dist: Distribution) -> list[str | None]:
        barred = self.barred.tolist()
        self._against = self._standings.now(dist, barred, self.facts, self.audit)
        return self._against

    def _turn(self, dist: Distribution) -> int:
        """Return whose turn it is; the past decides."""
        standing = self._standing(dist)
        able = [reason is None for reason in standing]
        index = self.race.whose_turn(able)
        if index is not None:
            return index
        incumbent = int(self.incumbent)
        if incumbent >= 0 and able[incumbent]:
            return incumbent
        safest = self._safest(dist, standing)
        if safest is None:
            raise EstimatorError(f"estimator 'auto' does not fit: {self.refusal(dist)}")
        return safest

    def _safest(self, dist: Distribution, standing: Sequence[str | None]) -> int | None:
        return self._standings.safest(
            standing, self._standings.by_law(dist, self.facts)
        )

    def _draw_by(self, index: int, dist: Distribution) -> Draw:
        candidate = self._all[index]
        note = _Note(index, dist)
        law = None
        if (self._steady is None and self.race.contestants) or _unguarded(candidate):
            law, note.own = _own(dist)
        asked = dist if law is None else law
        if self._steady is None and can_watch(candidate) and self._audits(dist):
            draw, note.watched = watch(candidate, asked)
        else:
            draw = candidate.draw(asked)
        if not self.facts.looked and can_watch(candidate):
            self._require_density(draw)
        draw.delegation = Delegation(candidate, law, note)
        return draw

    def _require_density(self, draw: Draw) -> None:
        """Find out at the first draw: some say no sooner that they have none."""
        try:
            _ = draw.log_prob
        except EstimatorError:
            self.facts.no_density.fill_(True)
            raise

    def _audits(self, dist: Distribution) -> bool:
        """Whether somebody waits for the path to be looked at."""
        if not self.audit.open:
            return False
        fits = self._standings.by_law(dist, self.facts)
        return any(
            reason is None and relies_on_path(candidate)
            for candidate, reason in zip(self._all, fits, strict=True)
        )

    def _measure(
        self, note: _Note, own: OwnParameters, draw: Draw, cost: Tensor
    ) -> None:
        """Have ``backward`` tell what the gradient is."""
        score = None
        if draw.rows == 1 and _unguarded(self._all[note.index]):
            score = _score(own, draw)

        def tell(gradient: Tensor, weight: Tensor) -> Tensor:
            found = gradient.detach()
            self.race.add(
                note.index,
                _as_of_one_particle(found, draw),
                draw.rows,
                # A quadratic leaves the others next to nothing to say.
                left_out=draw.heard_others and not isinstance(draw.extra, Attached),
            )
            if score is not None and cost.dim() == weight.dim() + 1:
                weighted = weight * cost.detach().squeeze(0)
                self._compare(
                    score * weight.unsqueeze(-1),
                    found - score * weighted.unsqueeze(-1),
                )
            return gradient

        own.correct(tell)

    def _compare(self, score: Tensor, difference: Tensor) -> None:
        parts = [p.reshape(-1, p.shape[-1]).double() for p in (score, difference)]
        sums = torch.stack([part.sum(0) for part in parts])
        self.guard.update(sums.unsqueeze(0), len(parts[0]))

    def _organise(self, dist: Distribution) -> None:
        """Pass the turn on, or start a race if one is due."""
        self._heed_jumps(dist)
        able = [reason is None for reason in self._standing(dist)]
        racing = self.race.contestants
        if racing:
            left = [i for i in racing if able[i]]
            if len(left) < len(racing):
                self._give_up(left)
                return
            held = int(self.incumbent) if self.duel else None
            winner = self.race.advance(held)
            if winner is not None:
                self.incumbent.fill_(winner)
            return
        incumbent = int(self.incumbent)
        if not able[incumbent]:
            chosen = self._safest(dist, self._against)
            if chosen is None:
                return
            self.incumbent.fill_(incumbent := chosen)
        if self._audits(dist):
            # First things first: who relies on a path, if they agree, races as well.
            watchable = [
                i for i, can in enumerate(able) if can and can_watch(self._all[i])
            ]
            if watchable:
                if incumbent not in watchable:
                    self.incumbent.fill_(watchable[0])
                return
        raced = self.raced.tolist()
        rivals = [i for i, can in enumerate(able) if can and i != incumbent]
        fresh = [i for i in rivals if raced[i] < 0]
        if fresh:
            self._start([incumbent, *fresh], duel=False)
        elif rivals and int(self.calls) % _LOOK == 0:
            waits = {i: self.race.patience(i, incumbent, len(rivals)) for i in rivals}
            since = {i: int(self.calls) - raced[i] for i in rivals}
            due = max(rivals, key=lambda i: since[i] - waits[i])
            if since[due] >= waits[due]:
                self._start([incumbent, due], duel=True)

    def _settle(self, dist: Distribution) -> None:
        """Keep the answer where asking at the next draw would say the same."""
        if self.race.contestants or self._audits(dist):
            return
        kind, incumbent = self._standings.lasting(dist), int(self.incumbent)
        if kind is not None and self._against[incumbent] is None:
            self._steady = incumbent, kind

    def _start(self, contestants: list[int], *, duel: bool) -> None:
        self.race.start(contestants)
        self.raced[contestants] = self.calls
        self.duel.fill_(duel)

    def _give_up(self, left: list[int]) -> None:
        """Stop a race that somebody had to leave; the others race again."""
        self.race.stop()
        self.raced[left] = -1
        if left:
            self.incumbent.fill_(left[0])

    def _heed_jumps(self, dist: Distribution) -> None:
        """Stop relying on a path that has turned out not to agree with the score."""
        if not self.audit.smooth:
            return
        fallen = any(getattr(c, "fallback", None) is not None for c in self._all)
        if not (fallen or self.guard.broken):
            return
        self.audit.condemn()
        where = describe(dist) if self.site is None else f"site {self.site!r}"
        warnings.warn(
            f'Estimator "auto" at {where}: {self.audit.words()} (or something after '
            "it is biased), so gradients since the path was relied on were biased. "
            "From now on candidates that need no path draw there.",
            DiscontinuousCostWarning,
            stacklevel=2,
        )


def _unguarded(candidate: Estimator) -> bool:
    """Whether it relies on a path without looking at it itself."""
    return relies_on_path(candidate) and not hasattr(candidate, "fallback")


def _default() -> list[Estimator]:
    options = {"enumerate": {"max_rows": BUDGET}}
    return [make_estimator(name, **options.get(name, {})) for name in DEFAULT]


def _checked(candidates: object) -> list[Estimator]:
    if isinstance(candidates, (str, Estimator)) or not isinstance(candidates, Sequence):
        raise InputTypeError(
            f"auto(candidates={candidates!r}): write a sequence of names or instances, "
            'such as ("hybrid", "score_function").'
        )
    found = [make_estimator(candidate) for candidate in candidates]
    names = [candidate.name for candidate in found]
    if not found:
        raise InputError("auto(candidates=()): write one or more, or leave it out.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"auto(candidates=...) has {', '.join(twice)} more than once.")
    for candidate in found:
        if not candidate.traits.unbiased:
            raise InputError(
                f"auto(candidates=...) has {candidate.name!r}, which is biased, and "
                "auto never chooses a biased estimator. Leave it out, or write "
                f"estimator={candidate.name!r} to use it nevertheless."
            )
        if candidate.traits.cost_evaluations == "choice":
            raise InputError(
                f"auto(candidates=...) has {candidate.name!r}, which chooses among "
                "others itself. Write the candidates that it chooses among."
            )
    return found


def _of(draw: Draw) -> tuple[Delegation, _Note]:
    delegation = draw.delegation
    if delegation is None or not isinstance(delegation.extra, _Note):
        raise EstimatorError(
            "auto was given a draw that it has not made; it corrects its own only."
        )
    return delegation, delegation.extra


def _own(dist: Distribution) -> tuple[Distribution | None, OwnParameters | None]:
    """Return the law on parameters of its own; ``None`` if it cannot be told."""
    try:
        law, _, own = own_law(dist)
    except EstimatorError:
        return None, None
    return (None, None) if own is None else (law, own)


def _score(own: OwnParameters, draw: Draw) -> Tensor | None:
    try:
        return own.score(draw).detach()
    except EstimatorError:
        return None  # no density


def _as_of_one_particle(gradient: Tensor, draw: Draw) -> Tensor:
    """Return what each particle alone would give, shape ``(particles, *batch, P)``."""
    dim = draw.particle_dim
    if dim is None:
        return gradient.unsqueeze(0)
    if draw.credit is not None:
        return gradient.sum(dim - 1).unsqueeze(0)  # they give a gradient together
    return gradient.movedim(dim - 1, 0) * gradient.shape[dim - 1]
