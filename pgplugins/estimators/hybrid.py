"""The hybrid of pathwise and score function: pathwise, less what the scores explain."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.algebra import zero_valued
from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.parameters import parameters_of, with_parameters
from pgplugins.core.regression import PastRegression
from pgplugins.errors import EstimatorError


class Hybrid(Estimator):
    """``P - beta . [s, f s - P]``: both gradients of one sample, best combined.

    Score ``S = f s`` and path ``P = f' dx/dtheta`` of one sample have the same mean
    when the cost is continuous, so their difference is a control variate, and so is
    every score column. The row's path gradient is regressed on all of the site's score
    columns and differences; the coefficients come from past draws, so the estimate is
    unbiased for any number of particles.

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

    def __init__(self, horizon: float = 100.0, max_parameters: int = 256) -> None:
        """Start without a past: the first estimates are pathwise."""
        super().__init__()
        self.max_parameters = max_parameters
        self.past = PastRegression(horizon=horizon)
        self._lesson: tuple[Tensor, Tensor] | None = None

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
        # A view of its own separates this site's use of a parameter from all others.
        rows = {k: v.expand(v.shape) for k, v in values.items()}
        own = with_parameters(dist, rows)
        varied = [v for v in rows.values() if v.requires_grad]
        return Draw(dist=own, value=own.rsample().unsqueeze(0), extra=varied)

    def gradient_term(self, draw: Draw, cost: Tensor) -> Tensor | None:
        """Return minus the explained part of the path, shape ``batch_shape``."""
        rows: list[Tensor] = draw.extra
        if not rows:
            return None
        batch = draw.dist.batch_shape
        # Any fixed mixture over the rows of other sites has columns of mean zero.
        between = tuple(range(cost.dim() - 1 - len(batch)))
        f = cost[0].mean(between) if between else cost[0]
        score = _gradient(draw.log_prob, rows, len(batch))
        path = _gradient(f, rows, len(batch))
        difference = f.detach().reshape(-1, 1) * score - path
        size = path.shape[-1]
        if size <= self.max_parameters:
            columns = torch.cat([score, difference], -1).unsqueeze(0)
            targets = path.unsqueeze(0)
        else:
            columns = torch.stack([score, difference], -1).transpose(0, 1)
            targets = path.t().unsqueeze(-1)
        self._lesson = columns, targets
        beta = self.past.coefficients(columns.shape[-1])
        if beta is None:
            return None
        explained = (columns @ beta.to(columns)).transpose(0, 1).reshape(-1, size)
        return -_reattach(explained, rows, batch)

    def update(self, draw: Draw, cost: Tensor) -> None:
        """Take the rows of this draw into the regression."""
        if self._lesson is not None:
            self.past.update(*self._lesson)
            self._lesson = None


def _gradient(cost: Tensor, rows: list[Tensor], batch: int) -> Tensor:
    """Gradient of a cost for every row's own parameters, ``(elements, parameters)``."""
    gradients = (
        torch.autograd.grad(cost.sum(), rows, retain_graph=True, allow_unused=True)
        if cost.requires_grad
        else [None] * len(rows)
    )
    flat = [
        (torch.zeros_like(r) if g is None else g).reshape(r.shape[:batch].numel(), -1)
        for g, r in zip(gradients, rows, strict=True)
    ]
    return torch.cat(flat, -1)


def _reattach(gradient: Tensor, rows: list[Tensor], batch: torch.Size) -> Tensor:
    """Zero-valued tensor of shape ``batch`` with the given gradient for each row."""
    sizes = [r.shape[len(batch) :].numel() for r in rows]
    total: Tensor | None = None
    for part, row in zip(gradient.split(sizes, -1), rows, strict=True):
        held = part.reshape(row.shape).to(row)
        term = (held * row).reshape(*batch, -1).sum(-1)
        total = term if total is None else total + term
    assert total is not None
    return zero_valued(total)
