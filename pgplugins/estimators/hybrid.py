"""The hybrid of pathwise and score function: pathwise, less what the scores explain."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.algebra import zero_valued
from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.numbers import positive_integer, within
from pgplugins.core.parameters import parameters_of, with_parameters
from pgplugins.core.path import rsample
from pgplugins.core.regression import PastRegression
from pgplugins.core.scores import closed_form_score
from pgplugins.errors import EstimatorError


class Hybrid(Estimator):
    """``P - beta . [s, f s - P]``: both gradients of one sample, best combined.

    Score ``S = f s`` and path ``P = f' dx/dtheta`` of one sample have the same mean
    when the cost is continuous, so their difference is a control variate, and so is
    every score column. The row's path gradient is regressed on all of the site's score
    columns and differences; the coefficients come from past draws, so the estimate is
    unbiased for any number of particles.

    The path gradient is caught on its way through ``backward``, which therefore runs
    once; it corrects the gradient and learns there. A cost that depends on the sample
    has to be part of the objective: what is added to the loss afterwards has a path but
    no score.

    Args:
        horizon: How many past rows the regression remembers, per column.
        max_parameters: Sites with more parameters per event than this are regressed
            parameter by parameter, each on its own score and difference.

    Example:
        >>> Hybrid().traits.own_score
        'drop'
    """

    name: ClassVar[str] = "hybrid"
    traits: ClassVar[Traits] = Traits(
        unbiased=True,
        needs=frozenset({"rsample", "log_prob", "differentiable_cost"}),
        own_score="drop",
    )

    def __init__(self, horizon: float = 10.0, max_parameters: int = 256) -> None:
        """Start without a past: the first estimates are pathwise."""
        super().__init__()
        within(horizon, "horizon", 1.0)
        positive_integer(max_parameters, "max_parameters")
        self.max_parameters = max_parameters
        self.past = PastRegression(horizon, ridge=0.01)

    def refusal(self, dist: Distribution) -> str | None:
        """Refuse distributions whose parameters cannot be expanded over rows."""
        try:
            with_parameters(dist, parameters_of(dist))
        except EstimatorError as error:
            return str(error)
        return None

    def draw(self, dist: Distribution) -> Draw:
        """Draw one row from a copy of ``dist`` that has its own parameters per row."""
        values = parameters_of(dist)
        batch = len(dist.batch_shape)
        varied = {k: v for k, v in values.items() if v.requires_grad}
        held = with_parameters(dist, {k: v.detach() for k, v in values.items()})
        if not varied:
            return Draw(dist=held, value=rsample(held).unsqueeze(0))
        # One tensor through which every use of a parameter by this site passes.
        flat = torch.cat([_flatten(v, batch) for v in varied.values()], -1)
        sizes = [v.shape[batch:].numel() for v in varied.values()]
        own = {
            name: part.reshape(value.shape)
            for (name, value), part in zip(
                varied.items(), flat.split(sizes, -1), strict=True
            )
        }
        law = with_parameters(dist, {**values, **own})
        value = rsample(law).unsqueeze(0)
        rows = _Rows(flat, tuple(varied))
        return Draw(dist=law, value=value, extra=rows, held_dist=held)

    def gradient_term(self, draw: Draw, cost: Tensor) -> Tensor | None:
        """Return a zero that makes ``backward`` correct the path, ``batch_shape``."""
        rows: _Rows | None = draw.extra
        if rows is None or not rows.flat.requires_grad:
            return None
        flat = rows.flat
        score = _score(draw, rows)
        f = cost[0].detach()
        beta = self.past.coefficients()
        seen: list[Tensor] = []

        def note_weight(weight: Tensor) -> Tensor:
            seen.append(weight.detach())
            return torch.zeros_like(weight)

        def correct(gradient: Tensor) -> Tensor | None:
            if not seen:
                return None
            weight = seen.pop()
            columns, targets, total = self._regressors(
                gradient.detach(), score, f, weight
            )
            self.past.update(columns, targets)
            fits = (columns.shape[0], columns.shape[-1], targets.shape[-1])
            if beta is None or beta.shape != fits:
                return None
            explained = (columns @ beta.to(columns)).transpose(0, 1)
            correction = total * explained.reshape(gradient.shape)
            return gradient - correction.to(gradient.dtype)

        # It depends on ``flat``, so its own gradient, which is the weight of every
        # element in the loss, is known before the gradient of ``flat`` is complete.
        probe = zero_valued(flat[..., 0]).expand(f.shape)
        probe.register_hook(note_weight)
        flat.register_hook(correct)
        return probe

    def _regressors(
        self, gradient: Tensor, score: Tensor, f: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return columns and targets by group, and weights of elements in the loss."""
        rows_of_others = tuple(range(f.dim() - (score.dim() - 1)))
        total = weight.sum(rows_of_others) if rows_of_others else weight
        mixed = (weight * f).sum(rows_of_others) if rows_of_others else weight * f
        # An element that counts for nothing, behind a mask, has nothing to teach.
        inverse = torch.where(total == 0, 0.0, 1 / total)
        counts = (total * inverse).unsqueeze(-1)
        size = score.shape[-1]
        path = (gradient * inverse.unsqueeze(-1)).reshape(-1, size)
        score = (score * counts).reshape(-1, size)
        difference = (mixed * inverse).reshape(-1, 1) * score - path
        if size <= self.max_parameters:
            columns = torch.cat([score, difference], -1).unsqueeze(0)
            return columns, path.unsqueeze(0), total.unsqueeze(-1)
        columns = torch.stack([score, difference], -1).transpose(0, 1)
        return columns, path.t().unsqueeze(-1), total.unsqueeze(-1)


class _Rows(NamedTuple):
    """Every element's own parameters, side by side, and their names."""

    flat: Tensor
    names: tuple[str, ...]


def _score(draw: Draw, rows: _Rows) -> Tensor:
    """Return the score for every element's own parameters, shape of ``rows.flat``."""
    batch = len(draw.dist.batch_shape)
    if draw.held_dist is not None:
        closed = closed_form_score(draw.held_dist, draw.value[0].detach())
        if closed is not None:
            return torch.cat([_flatten(closed[name], batch) for name in rows.names], -1)
    total = draw.log_prob.sum()
    if not total.requires_grad:
        return torch.zeros_like(rows.flat)
    (score,) = torch.autograd.grad(total, rows.flat, retain_graph=True)
    return score


def _flatten(value: Tensor, batch: int) -> Tensor:
    return value.reshape(*value.shape[:batch], -1)
