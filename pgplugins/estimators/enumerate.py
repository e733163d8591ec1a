"""Exact summation over a finite support."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.numbers import positive_integer
from pgplugins.core.points import MAX_POINTS, points_of, too_large


class Enumerate(Estimator):
    """``sum_k p_k f(k)``: every point of the support is a row, weighted by its mass.

    Exact, with no variance from this site, to every order. A ``to_event`` site is
    enumerated over the product of its elements: ``K**D`` rows for ``D`` elements.

    Args:
        max_rows: Refuse supports with more points than this.

    Raises:
        InputError: ``max_rows`` is not a positive integer.

    Example:
        >>> import torch
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

    def __init__(self, max_rows: int = MAX_POINTS) -> None:
        """Set the largest support that is enumerated."""
        super().__init__()
        positive_integer(max_rows, "max_rows")
        self.max_rows = max_rows

    def draw(self, dist: Distribution) -> Draw:
        """Return the whole support as rows, weighted by their probabilities.

        Raises:
            EstimatorError: The support has more than ``max_rows`` points.
        """
        points = points_of(dist, self.max_rows)
        value = points.expand(-1, *dist.batch_shape, *dist.event_shape)
        draw = Draw(dist=dist, value=value)
        draw.weight = draw.log_prob.exp()
        return draw

    def gradient_term(self, draw: Draw, cost: Tensor) -> None:
        """Nothing is missing: the weights carry the gradient."""
        return None

    def refusal(self, dist: Distribution) -> str | None:
        """Refuse supports that are too large, naming their size."""
        return too_large(dist, self.max_rows, "max_rows")
