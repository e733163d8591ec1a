"""Exact summation over a finite support."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.numbers import flag, positive_integer
from pgplugins.core.points import MAX_POINTS, points_of, too_large


class Enumerate(Estimator):
    """``sum_k p_k f(k)``: every point of the support is a row, weighted by its mass.

    Exact, with no variance from this site, to every order. A ``to_event`` site is
    enumerated over the product of its elements: ``K**D`` rows for ``D`` elements.

    Args:
        max_rows: Refuse supports with more points than this.
        expand: Whether the program sees the points once for every element of the
            enclosing plates, ``(rows, *plates, *event)``. The points are the same for
            all elements, and ``expand=False`` shows them once, with size 1 in place of
            each plate: what a program makes of the points alone, such as a decoder's
            output, is then computed once for all elements. Programs for Pyro's
            ``config_enumerate`` are written for that.

    Raises:
        InputError: ``max_rows`` is not a positive integer.
        InputTypeError: ``expand`` is neither ``True`` nor ``False``.

    Example:
        >>> import torch
        >>> d = torch.distributions.Bernoulli(torch.tensor([0.25, 0.5]))
        >>> Enumerate().draw(d).weight
        tensor([[0.7500, 0.5000],
                [0.2500, 0.5000]])
        >>> Enumerate().draw(d).value.shape, Enumerate(expand=False).draw(d).value.shape
        (torch.Size([2, 2]), torch.Size([2, 1]))
    """

    name: ClassVar[str] = "enumerate"
    traits: ClassVar[Traits] = Traits(
        unbiased=True,
        needs=frozenset({"enumerate_support"}),
        independent_rows=False,
        order="any",
        cost_evaluations="support",
    )

    def __init__(self, max_rows: int = MAX_POINTS, expand: bool = True) -> None:
        """Set the largest support that is enumerated, and how it is shown."""
        super().__init__()
        positive_integer(max_rows, "max_rows")
        self.max_rows = max_rows
        flag(expand, "expand")
        self.expand = expand

    def draw(self, dist: Distribution) -> Draw:
        """Return the whole support as rows, weighted by their probabilities.

        Raises:
            EstimatorError: The support has more than ``max_rows`` points.
        """
        points = points_of(dist, self.max_rows)
        if self.expand or len(points) == 1:
            points = points.expand(-1, *dist.batch_shape, *dist.event_shape)
        draw = Draw(dist=dist, value=points)
        draw.weight = draw.log_prob.exp()
        return draw

    def gradient_term(self, draw: Draw, cost: Tensor) -> None:
        """Nothing is missing: the weights carry the gradient."""
        return None

    def refusal(self, dist: Distribution) -> str | None:
        """Refuse supports that are too large, naming their size."""
        return too_large(dist, self.max_rows, "max_rows")
