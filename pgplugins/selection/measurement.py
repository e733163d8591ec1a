"""What ``backward`` tells of a draw: its gradient, and whether its path can be right.

The gradient is that for the parameters of the site's own distribution, as one particle
alone would give it: candidates are compared by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.control_variate import Attached
from pgplugins.core.draw import Draw
from pgplugins.core.own_parameters import OwnParameters, own_law
from pgplugins.core.path_guard import PathGuard
from pgplugins.errors import EstimatorError
from pgplugins.selection.race import Race


@dataclass
class Measurement:
    """Where the gradient of one draw is written down when ``backward`` comes by.

    Args:
        index: Which candidate drew.
        own: The parameters that the gradient is taken for.
        race: What the gradient goes to.
        guard: What learns whether score and path agree, if the candidate relies on the
            path and does not look itself.
    """

    index: int
    own: OwnParameters
    race: Race
    guard: PathGuard | None

    def of(self, draw: Draw, cost: Tensor, term: Tensor | None) -> Tensor | None:
        """Listen to the gradient of a draw; returns its term, as it is to be used.

        Args:
            draw: The draw.
            cost: What ``gradient_term`` got.
            term: What the candidate has returned for it.
        """
        score = None
        if self.guard is not None and draw.rows == 1:
            score = self._score(draw)

        def tell(gradient: Tensor, weight: Tensor) -> Tensor:
            found = gradient.detach()
            self.race.add(
                self.index,
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

        self.own.correct(tell)
        if self.guard is None:
            return term
        # Its slope is what each cost counts for in the loss.
        probe = self.own.probe
        return probe if term is None else term + probe

    def _score(self, draw: Draw) -> Tensor | None:
        try:
            return self.own.score(draw).detach()
        except EstimatorError:
            return None  # no density

    def _compare(self, score: Tensor, difference: Tensor) -> None:
        assert self.guard is not None
        parts = [p.reshape(-1, p.shape[-1]).double() for p in (score, difference)]
        sums = torch.stack([part.sum(0) for part in parts])
        self.guard.update(sums.unsqueeze(0), len(parts[0]))


def law_to_measure(
    dist: Distribution,
) -> tuple[Distribution, OwnParameters | None]:
    """Return the law on parameters of its own; as it is if they cannot be told."""
    try:
        law, _, own = own_law(dist)
    except EstimatorError:
        return dist, None
    return (dist, None) if own is None else (law, own)


def _as_of_one_particle(gradient: Tensor, draw: Draw) -> Tensor:
    """Return what each particle alone would give, shape ``(particles, *batch, P)``."""
    dim = draw.particle_dim
    if dim is None:
        return gradient.unsqueeze(0)
    if draw.credit is not None:
        return gradient.sum(dim - 1).unsqueeze(0)  # they give a gradient together
    return gradient.movedim(dim - 1, 0) * gradient.shape[dim - 1]
