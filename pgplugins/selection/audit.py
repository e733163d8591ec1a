"""A look at the path of a cost before anyone relies on it.

A draw that the score serves can be shown to the program with its path attached: the
slope of the cost is seen on its way back and goes no further, so that the estimate is
the score's, whatever the cost. What the path would have contributed is compared with
what the score says of the same draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pgplugins.core.control_variate import Attached
from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator
from pgplugins.core.own_parameters import OwnParameters, own_law
from pgplugins.core.path import rsample
from pgplugins.core.tap import Tap
from pgplugins.errors import EstimatorError

FEWEST: Final = 48
"""Calls that are looked at before a path is relied on."""

MOST: Final = 240
"""Calls after which a doubt that has not gone away is a verdict."""

_TOGETHER = 24  # calls from one judgement to the next
_DOUBT = 3.0  # standard errors of one parameter's difference

OPEN, SMOOTH, JUMPS, FLAT = range(4)


class Watched:
    """A draw of one row whose path is seen and not used."""

    def __init__(self, draw: Draw, own: OwnParameters, sample: Tensor) -> None:
        """Attach a tap to the sample."""
        self.own = own
        self._sample = sample
        self._tap = Tap(sample, len(draw.dist.batch_shape))
        self.draw = Draw.of_row(
            draw.dist, self._tap.seen, extra=draw.extra, held_dist=draw.held_dist
        )

    def compare(self, cost: Tensor, term: Tensor | None, audit: Audit) -> Tensor:
        """Return the term with a probe; ``backward`` then tells the audit."""
        score = self.own.score(self.draw).detach()
        f = cost.detach().squeeze(0)
        probe = self._tap.probe
        weights: list[Tensor] = []
        if f.dim() > probe.dim():
            # Rows of other sites: each has a weight of its own.
            probe = probe.expand(f.shape)
            probe.register_hook(weights.append)

        def note(slope: Tensor, weight: Tensor) -> None:
            weight = weights.pop() if weights else weight
            others = tuple(range(f.dim() - self._tap.probe.dim()))
            weighted, whole = weight * f, weight
            if others:
                weighted, whole = weighted.sum(others), whole.sum(others)
            path = self.own.pulled_back(self._sample, slope)
            audit.add(whole.unsqueeze(-1) * score, weighted.unsqueeze(-1) * score, path)

        self._tap.note = note
        return probe if term is None else term + probe


class Audit(nn.Module):
    """Whether score and path have agreed so far, on draws that rely on the score.

    They agree in mean where the cost is continuous. The sums over the rows of one call
    are martingale differences however the parameters move, so their self-normalised sum
    over calls is compared with its standard error; the cost's level, which only meets
    the scores, is regressed out.
    """

    calls: Tensor
    verdict: Tensor
    moved: Tensor
    sums: Tensor | None

    def __init__(self) -> None:
        """Start without a call."""
        super().__init__()
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("verdict", torch.tensor(OPEN))
        self.register_buffer("moved", torch.tensor(False))
        self.register_buffer("sums", None)

    @property
    def open(self) -> bool:
        """Whether there is no verdict yet."""
        return int(self.verdict) == OPEN

    @property
    def smooth(self) -> bool:
        """Whether a path may be relied on."""
        return int(self.verdict) == SMOOTH

    def condemn(self) -> None:
        """Give the verdict that others have found: the cost jumps."""
        self.verdict.fill_(JUMPS)

    def words(self) -> str:
        """Say how it stands."""
        seen = int(self.calls)
        return {
            OPEN: f"whether score and path agree is being looked at ({seen} of at "
            f"least {FEWEST} calls)",
            SMOOTH: "score and path agree on past draws",
            JUMPS: "the past draws' score and path differ in mean, so the cost is not "
            "continuous in the sample",
            FLAT: "the cost has no gradient in the sample",
        }[int(self.verdict)]

    def add(self, score: Tensor, scored: Tensor, path: Tensor) -> None:
        """Take in a call.

        Args:
            score: Scores, times what each row counts for, shape ``(*batch, P)``.
            scored: ``f s`` of each row, likewise.
            path: The path gradient of each row, likewise.
        """
        if not self.open:
            return
        size = score.shape[-1]
        self.moved |= path.any().to(self.moved.device)
        s = score.detach().reshape(-1, size).double().sum(0)
        d = (scored.detach() - path).reshape(-1, size).double().sum(0)
        if not (s.isfinite().all() and d.isfinite().all()):
            return
        new = torch.stack([s, d, s * s, s * d, d * d])
        if self.sums is None or self.sums.shape != new.shape:
            self.sums = torch.zeros_like(new)
            self.calls.zero_()
        self.sums = self.sums.to(new.device) + new
        self.calls += 1
        calls = int(self.calls)
        if calls >= FEWEST and calls % _TOGETHER == 0:
            self._judge(calls)

    def _judge(self, calls: int) -> None:
        assert self.sums is not None
        if not self.moved:
            self.verdict.fill_(FLAT)
            return
        score, difference, square, product, rest = self.sums
        share = torch.where(square > 0, product / square, 0.0)
        left = rest - share * product
        total = difference - share * score
        told = left > 1e-12 * rest
        z = torch.where(told, total / left.clamp_min(1e-300).sqrt(), 0.0).abs().max()
        limit = _limit(len(total))
        if float(z) <= limit:
            self.verdict.fill_(SMOOTH)
        elif calls >= MOST or float(z) > 2 * limit:
            self.verdict.fill_(JUMPS)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any
    ) -> None:
        # Its size is only known once a site has been seen.
        found = state_dict.get(prefix + "sums")
        self.sums = None if found is None else found.clone()
        super()._load_from_state_dict(dict(state_dict), prefix, *args)


def can_watch(estimator: Estimator) -> bool:
    """Whether a path may be looked at while this estimator serves a site."""
    traits = estimator.traits
    return not traits.many_rows and (
        traits.takes_recorded_draws or traits.needs == {"rsample", "log_prob"}
    )


def watch(estimator: Estimator, dist: Distribution) -> tuple[Draw, Watched | None]:
    """Draw one row, with its path in sight if it can be told.

    Args:
        estimator: One that :func:`can_watch`.
        dist: What to draw from.
    """
    if not estimator.traits.takes_recorded_draws:
        draw = estimator.draw(dist)
        attached = draw.extra
        if not isinstance(attached, Attached) or attached.own is None:
            return draw, None
        watched = Watched(draw, attached.own, attached.sample)
        return watched.draw, watched
    try:
        law, held, own = own_law(dist)
    except EstimatorError:
        own = None
    if own is None or not dist.has_rsample:
        return estimator.draw(dist), None
    sample = rsample(law)
    adopted = estimator.adopt(law, sample.detach())
    assert adopted is not None
    adopted.held_dist = held
    watched = Watched(adopted, own, sample)
    return watched.draw, watched


def _limit(parameters: int) -> float:
    """Share the chance of a doubt among the parameters."""
    normal = NormalDist()
    return -normal.inv_cdf(normal.cdf(-_DOUBT) / parameters)
