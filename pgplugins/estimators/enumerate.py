"""Exact summation over a finite support."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.numbers import positive_integer
from pgplugins.errors import EstimatorError


class Enumerate(Estimator):
    """``sum_k p_k f(k)``: every point of the support is a row, weighted by its mass.

    Exact, with no variance from this site, to every order. A ``to_event`` site is
    enumerated over the product of its elements: ``K**D`` rows for ``D`` elements.

    Args:
        max_rows: Refuse supports with more points than this.

    Raises:
        InputError: ``max_rows`` is not a positive integer.

    Example:
        >>> d = torch.distributions.Bernoulli(torch.tensor(0.25))
        >>> Enumerate().draw(d).weight
        tensor([0.7500, 0.2500])
    """

    name: ClassVar[str] = "enumerate"
    traits: ClassVar[Traits] = Traits(
        unbiased=True,
        needs=frozenset({"enumerate_support"}),
        independent_rows=False,
        order="any",
        cost_evaluations="support",
    )

    def __init__(self, max_rows: int = 16384) -> None:
        """Set the largest support that is enumerated."""
        super().__init__()
        positive_integer(max_rows, "max_rows")
        self.max_rows = max_rows

    def draw(self, dist: Distribution) -> Draw:
        """Return the whole support as rows, weighted by their probabilities.

        Raises:
            EstimatorError: The support has more than ``max_rows`` points.
        """
        support = _support(dist, self.max_rows)
        value = support.expand(-1, *dist.batch_shape, *dist.event_shape)
        draw = Draw(dist=dist, value=value)
        draw.weight = draw.log_prob.exp()
        return draw

    def gradient_term(self, draw: Draw, cost: Tensor) -> None:
        """Nothing is missing: the weights carry the gradient."""
        return None

    def refusal(self, dist: Distribution) -> str | None:
        """Refuse supports that are too large, naming their size."""
        base, copies = _product(dist)
        try:
            points = base.enumerate_support(expand=False).shape[0]
        except NotImplementedError as error:
            return f"{type(base).__name__} cannot be enumerated ({error})"
        if points**copies > self.max_rows:
            return (
                f"its support has {points}^{copies} = {points**copies} points, more "
                f"than max_rows={self.max_rows}"
            )
        return None


def _product(dist: Distribution) -> tuple[Distribution, int]:
    """Return the distribution of one element, and how many elements an event has."""
    copies = 1
    while isinstance(dist, Independent):
        copies *= dist.event_shape[: dist.reinterpreted_batch_ndims].numel()
        dist = dist.base_dist
    return dist, copies


def _support(dist: Distribution, max_rows: int) -> Tensor:
    """Return the support, shape ``(rows, *ones for batch_shape, *event_shape)``."""
    base, copies = _product(dist)
    points = base.enumerate_support(expand=False)
    if points.shape[0] ** copies > max_rows:
        raise EstimatorError(
            f"The support has {points.shape[0]}^{copies} = "
            f"{points.shape[0] ** copies} points, more than max_rows={max_rows}. "
            'Write estimator="score_function" or raise max_rows.'
        )
    one = points.reshape(points.shape[0], *base.event_shape)
    grid = torch.cartesian_prod(*[torch.arange(one.shape[0])] * copies)
    rows = one[grid.reshape(-1, copies).to(one.device)]
    return rows.reshape(-1, *(1,) * len(dist.batch_shape), *dist.event_shape)
