"""Counts: the gradient from one neighbouring count."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.features import difference
from pgplugins.core.neighbours import difference_term, draw_with_neighbours, uncovered
from pgplugins.core.numbers import positive_integer


class FiniteDifference(Estimator):
    """A scaled ``f(X + 1) - f(X)`` for counts: Poisson, Binomial and Geometric.

    Summation by parts turns the derivative of ``sum_k p(k) f(k)`` into the expectation
    of one stochastic finite difference, for any cost.

    Args:
        max_rows: Refuse sites that need more rows than this: one, and one for every
            element that ``to_event`` has joined.

    Raises:
        InputError: ``max_rows`` is not a positive integer.

    Example:
        A cost that no path could differentiate, of whole numbers: at a rate of 3 the
        gradient of ``E[x]`` is 1, and two evaluations give it exactly.

        >>> import torch, pgplugins as pg
        >>> rate = torch.tensor(3.0, requires_grad=True)
        >>> counts = torch.distributions.Poisson(rate)
        >>> pg.estimator("finite_difference").draw(counts).rows
        2
        >>> loss = pg.expectation(torch.floor, counts, estimator="finite_difference")
        >>> loss.backward()
        >>> rate.grad
        tensor(1.)
    """

    name: ClassVar[str] = "finite_difference"
    traits: ClassVar[Traits] = Traits(
        unbiased=True,
        needs=frozenset({"difference"}),
        independent_rows=False,
        own_score="drop",
        cost_evaluations="parameters",
    )

    def __init__(self, max_rows: int = 16384) -> None:
        """Set the largest number of rows."""
        super().__init__()
        positive_integer(max_rows, "max_rows")
        self.max_rows = max_rows

    def refusal(self, dist: Distribution) -> str | None:
        """Refuse parameters without a difference."""
        return uncovered(dist, difference, "stochastic difference")

    def draw(self, dist: Distribution) -> Draw:
        """Return the draw and, with weight zero, its neighbours."""
        return draw_with_neighbours(dist, difference, self.max_rows)

    def gradient_term(self, draw: Draw, cost: Tensor) -> Tensor | None:
        """Return the scaled differences along the parameters, ``batch_shape``."""
        return difference_term(draw, cost)
