"""The hybrid of pathwise and score function: pathwise, less what the scores explain."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.control_variate import Attached, ControlVariate
from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.learning import afterwards
from pgplugins.core.meeting import Met, meet
from pgplugins.core.numbers import positive_integer, within
from pgplugins.core.own_parameters import (
    OwnParameters,
    draw_on_own,
    hides_parameters,
)
from pgplugins.core.parts import describe
from pgplugins.core.path_guard import PathGuard
from pgplugins.core.regression import PastRegression
from pgplugins.core.waiting import WaitingCalls
from pgplugins.errors import DiscontinuousCostWarning

_CALLS = 24  # that wait at most before something is learnt from them


class Hybrid(Estimator):
    """``P - beta . [s, f s - P]``: both gradients of one sample, best combined.

    Score ``S = f s`` and path ``P = f' dx/dtheta`` of one sample have the same mean
    when the cost is continuous, so their difference is a control variate, and so is
    every score column. The row's path gradient is regressed on all of the site's score
    columns and differences; the coefficients come from past draws, so the estimate is
    unbiased for any number of particles.

    Where past differences have had another mean than zero, the cost jumps: the path
    gradient lacks the jump, and has biased the estimate. The site then goes on as
    ``lax`` does, which needs no gradient of the cost, says so once by a
    :class:`~pgplugins.errors.DiscontinuousCostWarning`, and stays there.

    The path gradient is caught on its way through ``backward``, which therefore runs
    once; it corrects the gradient and learns there. A cost that depends on the sample
    has to be part of the objective: what is added to the loss afterwards has a path but
    no score.

    Args:
        horizon: How many past rows the regression remembers, per column.
        max_parameters: Sites with more parameters per event than this are regressed
            parameter by parameter, each on its own score and difference.

    Raises:
        InputError: ``horizon`` is below one, or ``max_parameters`` no positive integer.

    Example:
        Eight draws of ``x^2`` at N(1, 1), whose gradient is 2. The path's standard
        error is 0.71; what a hundred calls have taught explains nearly all of it.

        >>> import torch, pgplugins as pg
        >>> mu, hybrid = torch.tensor(1.0, requires_grad=True), pg.estimator("hybrid")
        >>> _ = torch.manual_seed(0)
        >>> for _ in range(101):
        ...     d = torch.distributions.Normal(mu, 1.0)
        ...     loss = pg.expectation(torch.square, d, estimator=hybrid, num_samples=8)
        ...     (gradient,) = torch.autograd.grad(loss, mu)
        >>> round(gradient.item(), 2)
        2.0
    """

    name: ClassVar[str] = "hybrid"
    traits: ClassVar[Traits] = Traits(
        unbiased=True,
        needs=frozenset({"rsample", "log_prob", "differentiable_cost"}),
        own_score="drop",
    )

    told: Tensor

    def __init__(self, horizon: float = 10.0, max_parameters: int = 256) -> None:
        """Start without a past: the first estimates are pathwise."""
        super().__init__()
        within(horizon, "horizon", 1.0)
        positive_integer(max_parameters, "max_parameters")
        self.max_parameters = max_parameters
        self.past = PastRegression(horizon, ridge=0.01)
        self.guard = PathGuard()
        self.waiting = WaitingCalls()
        # Made when it is needed: objectives look at all parts of an estimator.
        self.control: ControlVariate | None = None
        self.register_buffer("told", torch.tensor(False))

    @property
    def fallback(self) -> str | None:
        """Why the site goes on as ``lax`` does; ``None`` while it does not."""
        if not self.guard.broken:
            return None
        return (
            "The past draws' score and path gradients differ in mean, so the cost is "
            "not continuous in the sample"
        )

    def refusal(self, dist: Distribution) -> str | None:
        """Refuse distributions whose parameters cannot be expanded over rows."""
        return hides_parameters(dist)

    def draw(self, dist: Distribution) -> Draw:
        """Draw one row from a copy of ``dist`` that has its own parameters per row."""
        if self.guard.broken:
            self._tell(dist)
            if self.control is None:
                self.control = ControlVariate().to(self.told.device)
            return self.control.draw(dist)
        return draw_on_own(dist)

    def _tell(self, dist: Distribution) -> None:
        if self.told:
            return
        self.told = torch.ones_like(self.told)
        where = describe(dist) if self.site is None else f"site {self.site!r}"
        warnings.warn(
            f'Estimator "hybrid" at {where}: {self.fallback} (or something after it is '
            "biased), and gradients so far were biased. From now on the site is "
            'estimated as by "lax", which is unbiased there. Write estimator="lax" '
            "from the start, or make the cost continuous.",
            DiscontinuousCostWarning,
            stacklevel=2,
        )

    def gradient_term(self, draw: Draw, cost: Tensor) -> Tensor | None:
        """Return a zero that makes ``backward`` correct the path, ``batch_shape``."""
        if isinstance(draw.extra, Attached):
            assert self.control is not None
            return self.control.gradient_term(draw, cost)
        own: OwnParameters | None = draw.extra
        if own is None or not own.probe.requires_grad:
            return None
        score = own.score(draw)
        size = score.shape[-1]
        beta = self._coefficients(size)

        def correct(met: Met) -> Tensor:
            parts = _as_counted(met, score)
            corrected = met.path if beta is None else met.path - _explained(parts, beta)
            rows = [part.reshape(-1, size) for part in parts]
            shown = draw.pool.rows(rows, "scores and path gradients")
            afterwards(self._learn, *shown)
            return corrected

        return meet(own, cost, correct)

    def update(self, draw: Draw, cost: Tensor) -> None:
        """Learn, where the cost jumps; elsewhere ``backward`` does."""
        if isinstance(draw.extra, Attached):
            assert self.control is not None
            self.control.update(draw, cost)

    def _coefficients(self, size: int) -> Tensor | None:
        """Return what was learnt for sites of as many parameters, if anything was."""
        beta = self.past.coefficients()
        groups = self._groups(size)
        share = size // groups
        return (
            beta
            if beta is not None and beta.shape == (groups, 2 * share, share)
            else None
        )

    def _groups(self, size: int) -> int:
        """One regression for all parameters, or one for each of too many."""
        return 1 if size <= self.max_parameters else size

    def _learn(self, *rows: Tensor) -> None:
        """Let a call wait, and learn from those that wait if there are enough."""
        self.waiting.add(rows)
        size = rows[0].shape[-1]
        groups = self._groups(size)
        columns = 2 * size // groups
        enough = self.past.missing(groups, columns)
        if self.waiting.rows < enough and self.waiting.calls < _CALLS:
            return
        parts, sizes = self.waiting.take()
        calls = parts[:2].split(sizes, 1)
        self.guard.update(torch.stack([call.sum(1) for call in calls]), sum(sizes))
        by_group = parts.permute(1, 0, 2).reshape(1, -1, 3 * size)
        if groups > 1:
            by_group = parts.permute(2, 1, 0)
        self.past.add(by_group, columns)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any
    ) -> None:
        there = any(key.startswith(prefix + "control.") for key in state_dict)
        self.control = ControlVariate().to(self.told.device) if there else None
        super()._load_from_state_dict(dict(state_dict), prefix, *args)


def _as_counted(met: Met, score: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores, ``P - f s`` and paths ``P``, all times their weight in the loss.

    Their relation is what is learnt, so that the weight need not be divided out; an
    element that counts for nothing, behind a mask, has nothing to teach.
    """
    difference = torch.addcmul(met.path, score, met.cost.unsqueeze(-1), value=-1)
    return score * met.weight.unsqueeze(-1), difference, met.path


def _explained(parts: Sequence[Tensor], beta: Tensor) -> Tensor:
    """Return what scores and differences explain of the paths, shape of a part."""
    score, difference, path = parts
    # A cost may have another precision than the parameters.
    columns = torch.cat([score, difference], -1)
    beta = beta.to(columns)
    if len(beta) == 1:
        explained = columns @ beta[0]
    else:
        explained = score * beta[:, 0, 0] + difference * beta[:, 1, 0]
    return explained.to(path)
