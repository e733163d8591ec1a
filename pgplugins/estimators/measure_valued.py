"""Measure-valued derivatives: two coupled draws for every scalar parameter."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.features import weak_derivative
from pgplugins.core.neighbours import difference_term, draw_with_neighbours, uncovered
from pgplugins.core.numbers import positive_integer


class MeasureValued(Estimator):
    """``c (f(x+) - f(x-))`` for every scalar parameter, for any cost.

    The derivative of a law for one of its parameters is a difference of two laws, times
    a constant (Pflug 1996; Mohamed et al. 2020, section 6). The pair is coupled with
    each other and, where that spares an evaluation, with the draw itself. Elements of a
    ``to_event`` site are moved one at a time, so an event of D elements with P
    parameters each takes up to ``1 + 2 P D`` evaluations.

    Args:
        max_rows: Refuse sites that need more rows than this.

    Raises:
        InputError: ``max_rows`` is not a positive integer.

    Example:
        A cost that no path could differentiate, of whole numbers: at a rate of 3 the
        gradient of ``E[x]`` is 1, and two evaluations give it exactly.

        >>> import torch, pgplugins as pg
        >>> rate = torch.tensor(3.0, requires_grad=True)
        >>> counts = torch.distributions.Poisson(rate)
        >>> pg.estimator("measure_valued").draw(counts).rows
        2
        >>> pg.expectation(torch.floor, counts, estimator="measure_valued").backward()
        >>> rate.grad
        tensor(1.)
    """

    name: ClassVar[str] = "measure_valued"
    traits: ClassVar[Traits] = Traits(
        unbiased=True,
        needs=frozenset({"weak_derivative"}),
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
        """Refuse parameters without a weak derivative."""
        return uncovered(dist, weak_derivative, "weak derivative")

    def draw(self, dist: Distribution) -> Draw:
        """Return the draw and, with weight zero, its coupled pairs."""
        return draw_with_neighbours(dist, weak_derivative, self.max_rows)

    def gradient_term(self, draw: Draw, cost: Tensor) -> Tensor | None:
        """Return the scaled differences along the parameters, ``batch_shape``."""
        return difference_term(draw, cost)
