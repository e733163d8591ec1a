"""A control variate that is learnt from the past: LAX with a quadratic.

The estimate ``(f - c) s + grad E[c]`` has the mean of ``f s`` for any ``c`` that has
not seen the current draw; its second part comes along the path (Grathwohl et al. 2018,
"Backpropagation through the Void", eq. 7). Here ``c`` is a quadratic in the sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pgplugins.core.algebra import zero_valued
from pgplugins.core.coordinates import coordinates
from pgplugins.core.draw import Draw
from pgplugins.core.learning import afterwards
from pgplugins.core.own_parameters import OwnParameters, own_law
from pgplugins.core.path import rsample
from pgplugins.core.provenance import plain
from pgplugins.core.quadratics import FullQuadratic, Guess, SeparableQuadratic
from pgplugins.core.regression import PastRegression
from pgplugins.errors import EstimatorError

_FULL = 12  # coordinates up to which all products are used


class _Step(NamedTuple):
    """What the current draw was corrected by."""

    u: Tensor
    guess: Guess | None
    rest: Tensor
    others: Tensor | None
    score: Tensor | None


@dataclass
class Attached:
    """The sample with its path, and the parameters that it is a path of."""

    sample: Tensor
    own: OwnParameters | None
    step: _Step | None = None


class ControlVariate(nn.Module):
    """Draws held values, and corrects the score function by a quadratic's path.

    The quadratic has all products, and is fitted to the gradient's variance, for
    events of up to twelve coordinates whose parameters can be told apart; else it is a
    sum over coordinates, and time and memory are linear in them.

    Before there is a past it is the score function, less the other particles' mean cost
    where there are others.
    """

    def __init__(self) -> None:
        """Start without a past."""
        super().__init__()
        self.full = FullQuadratic()
        self.separable = SeparableQuadratic()
        # What the scores explain of the noise that the quadratic's path brings in.
        self.noise = PastRegression(horizon=10.0, ridge=1e-3)

    def draw(self, dist: Distribution) -> Draw:
        """Draw one row, detached, and keep the attached sample for the control."""
        held: Distribution | None
        try:
            law, held, own = own_law(dist)
        except EstimatorError:
            law, held, own = dist, None, None  # its parameters cannot be told apart
        sample = rsample(law)
        extra = Attached(sample, own)
        return Draw.of_row(law, sample.detach(), extra=extra, held_dist=held)

    def gradient_term(self, draw: Draw, cost: Tensor) -> Tensor | None:
        """Return score term and path, zero in value; shape of ``cost`` less the rows.

        ``None`` if nothing is differentiated for.
        """
        extra: Attached = draw.extra
        u = coordinates(draw.held_dist or draw.dist, plain(extra.sample))
        if not u.requires_grad:
            return None
        full = extra.own is not None and u.shape[-1] <= _FULL
        guess = (self.full if full else self.separable).guess(u)
        rest = cost.detach().squeeze(0)
        if guess is None:
            others = draw.others_cost(rest)
            rest = rest if others is None else rest - others
        else:
            rest = rest - guess.value.detach()
            others = draw.others_cost(rest)
            if others is not None:
                rest = rest - guess.trust * (others - guess.level)
        term = draw.summed_score_term(rest.unsqueeze(0))
        score = None
        if guess is not None:
            term = term + zero_valued(guess.value)
        if extra.own is not None and full:
            score = extra.own.score(draw)
            known = self.noise.coefficients()
            if known is not None and known.shape[1] == score.shape[-1]:
                explained = score @ known[0].to(score)
                flat = plain(extra.own.flat)
                term = term - zero_valued((flat * explained).sum(-1))
        extra.step = _Step(u, guess, rest, others, score)
        return term

    def update(self, draw: Draw, cost: Tensor) -> None:
        """Learn from the costs that the control has just been used on."""
        extra: Attached = draw.extra
        step = extra.step
        if step is None:
            return
        batch = len(draw.dist.batch_shape)
        f = cost.detach().squeeze(0)
        size = step.u.shape[-1]
        u = step.u.detach().reshape(-1, size)
        what = "the rows that a quadratic is fitted to"
        if extra.own is None or step.score is None:
            others = draw.others_cost(f)
            parts = [u, _column(f, batch)]
            if others is not None:
                parts.append(_column(others, batch))
            u, costs, *by_row = draw.pool.rows(parts, what)
            said = by_row[0][:, 0] if by_row else None
            afterwards(self.separable.update, u, costs[:, 0], said)
            return
        own, count = extra.own, step.score.shape[-1]
        score = step.score.reshape(-1, count)
        if step.guess is not None:
            slope = own.gradient(step.guess.value).reshape(-1, count)
            gradient = _column(step.rest, batch) * score + slope
            scores, gradients = draw.pool.rows([score, gradient], what)
            afterwards(self.noise.update, scores.unsqueeze(0), gradients.unsqueeze(0))
        path = torch.stack([own.gradient(part) for part in step.u.unbind(-1)], -2)
        parts = [u, path.reshape(-1, size * count), score, _column(f, batch)]
        if step.others is not None:
            parts.append(_column(step.others, batch))
        u, path, score, costs, *by_row = draw.pool.rows(parts, what)
        paths = path.reshape(-1, size, count)
        said = by_row[0][:, 0] if by_row else None
        afterwards(self.full.update, u, paths, score, costs[:, 0], said)


def _column(value: Tensor, batch: int) -> Tensor:
    """Average over other sites' rows and put the batch elements in a column."""
    others = tuple(range(value.dim() - batch))
    return (value.mean(others) if others else value).reshape(-1, 1)
