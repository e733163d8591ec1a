"""Drawing so that a gradient can be taken apart site by site.

Every site draws one row as usual, but the program is shown a copy that is cut off from
the parameters. What flows through the cut is then known site by site: the score term on
one side, the slope of the cost at the copy on the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pyro.distributions import Unit
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.fit import misfit
from pgplugins.core.parts import element
from pgplugins.core.path import density, rsample, sample
from pgplugins.core.provenance import plain
from pgplugins.distribution import unmasked, unwrapped
from pgplugins.errors import EstimatorError
from pgplugins.estimators.reparameterized import Reparameterized
from pgplugins.estimators.score_function import ScoreFunction
from pgplugins.infer.choice import Choice, EstimatorRules
from pgplugins.plugins import Site


@dataclass
class Cut:
    """What lies on both sides of the cut at one site.

    Args:
        drawn: The draw with its path, or ``None`` if there is none to follow.
        leaf: What the costs depend on in its place.
        carried: Whether the site's path, not its score, carries on the gradient of the
            sites before it.
        score_term: The site's score term, once the fold has met it.
    """

    drawn: Tensor | None = None
    leaf: Tensor | None = None
    carried: bool = False
    score_term: Tensor | None = None


class Probe(Estimator):
    """Draws one row, cut off from its parameters, and keeps its score term.

    Args:
        scores: The site's density can be differentiated.
        moves: The site's draw has a path.
        carried: See :class:`Cut`.
    """

    name: ClassVar[str] = "explain"  # in refusals
    traits: ClassVar[Traits] = Traits(unbiased=True, own_score="drop")

    def __init__(self, *, scores: bool, moves: bool, carried: bool) -> None:
        """Start without a past."""
        super().__init__()
        self.scores = scores
        self.moves = moves
        self.carried = carried
        self._side_by_side = ScoreFunction("leave_one_out")
        self._one_by_one = ScoreFunction("moving_average")
        self._known_elsewhere = False

    def draw(self, dist: Distribution) -> Draw:
        """Draw along the path if there is one."""
        if not self.moves:
            return Draw.of_row(dist, sample(dist), extra=Cut())
        drawn = rsample(dist)
        leaf = plain(drawn).detach().requires_grad_()
        if self.scores and not self._known_elsewhere:
            self._require_density(dist, leaf)
        shown = leaf.expand_as(drawn)  # knows the sites that the draw comes from
        return Draw.of_row(
            dist, shown, extra=Cut(plain(drawn), leaf, carried=self.carried)
        )

    def gradient_term(self, draw: Draw, cost: Tensor) -> Tensor | None:
        """Keep the score term; return it if no path stands in for it."""
        if not self.scores:
            return None
        if draw.extra is None:  # drawn by others: a guide's factor
            draw.extra = Cut()
        term = self._baselined(draw).gradient_term(draw, cost)
        draw.extra.score_term = term
        return None if self.carried else term

    def update(self, draw: Draw, cost: Tensor) -> None:
        """Let the baseline learn."""
        if self.scores:
            self._baselined(draw).update(draw, cost)

    def _require_density(self, dist: Distribution, copy: Tensor) -> None:
        """Raise if the density of a copy of the draw is not known, as some flows'."""
        try:
            density(dist, copy.detach())
        except EstimatorError as error:
            raise EstimatorError(
                f"explain: at site {self.site!r} score and path cannot be told apart: "
                f"{error}"
            ) from error
        self._known_elsewhere = True

    def _baselined(self, draw: Draw) -> ScoreFunction:
        dim = draw.particle_dim
        many = dim is not None and draw.dist.batch_shape[dim] > 1
        return self._side_by_side if many else self._one_by_one


class ProbingRules(EstimatorRules):
    """Chooses as other rules do, notes the choice, and has a probe draw instead.

    Args:
        rules: Those that choose.
    """

    def __init__(self, rules: EstimatorRules) -> None:
        """Start without a choice."""
        super().__init__(None)
        self.choices: dict[str, Choice] = {}
        self.laws: dict[str, Distribution] = {}
        self._rules = rules
        self._probes: dict[tuple[bool, bool, bool], Probe] = {}
        self._score, self._path = ScoreFunction(), Reparameterized()

    @property
    def steady(self) -> bool:
        """Never: every draw is to be noted."""
        return False

    def choose(self, site: Site) -> Choice:
        """Return a probe for the site, or what was chosen if that does not fit."""
        law = unmasked(unwrapped(site.dist))
        factor = isinstance(element(law), Unit)
        chosen = self._rules.choose(site)
        if factor:
            chosen = Choice(
                chosen.estimator, "pyro.factor in the guide has a score only"
            )
        elif misfit(chosen.estimator, law) is not None:
            return chosen  # the front refuses it
        self.choices[site.name] = chosen
        self.laws[site.name] = law
        scores = factor or misfit(self._score, law) is None
        moves = not factor and misfit(self._path, law) is None
        differentiates = "differentiable_cost" in chosen.estimator.traits.needs
        kind = scores, moves, moves and (differentiates or not scores)
        if kind not in self._probes:
            self._probes[kind] = Probe(scores=scores, moves=moves, carried=kind[2])
        return Choice(self._probes[kind], chosen.reason)

    def require_matched(self, names: list[str]) -> None:
        """Raise as the other rules do."""
        self._rules.require_matched(names)
