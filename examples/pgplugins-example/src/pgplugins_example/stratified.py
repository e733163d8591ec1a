"""The gradient estimator ``stratified``."""

from __future__ import annotations

import dataclasses

import pgplugins as pg
import torch
from pgplugins.errors import InputError
from torch import Tensor
from torch.distributions import Distribution, Independent, TransformedDistribution


class Stratified(pg.Estimator):
    """``mean_r f(x_r)``: pathwise, with one row in each of R equally likely strata.

    The unit interval is cut into R strata; every row gets one, in an order of its own
    for every number that is drawn (Latin hypercube sampling: McKay, Beckman and Conover
    1979), and the quantile function takes it to the law. So each row by itself has the
    law, and the mean over rows is unbiased, as its pathwise gradient is. Together the
    rows lie more evenly than independent ones: the part of the cost that adds up over
    the numbers of an event hardly varies (Stein 1987, theorem 1).

    For laws that know their quantiles (``icdf``), and whatever ``to_event``, ``expand``
    and transforms make of them.

    Args:
        rows: R, the evaluations of the cost for one draw; at least 2.

    Raises:
        InputError: ``rows`` is not an integer above 1.

    Example:
        >>> normal = torch.distributions.Normal(torch.zeros(5), 1.0)
        >>> value = Stratified(rows=2).draw(normal).value
        >>> (value < 0).sum(0).tolist()
        [1, 1, 1, 1, 1]
    """

    name = "stratified"
    traits = pg.Traits(
        unbiased=True,
        needs=frozenset({"rsample", "differentiable_cost"}),
        independent_rows=False,
        order="any",
        cost_evaluations=8,
    )

    def __init__(self, rows: int = 8) -> None:
        """Set the number of rows."""
        super().__init__()
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 2:
            raise InputError(
                f"stratified(rows={rows!r}): write an integer above 1. With one row "
                'there is nothing to spread; that is estimator="reparameterized".'
            )
        self.rows = rows
        # The class says what the default does, an instance what it does itself.
        self.traits = dataclasses.replace(  # type: ignore[misc]
            self.traits, cost_evaluations=rows
        )

    def draw(self, dist: Distribution) -> pg.Draw:
        """Draw R rows of equal weight, attached to their parameters."""
        return pg.Draw(dist=dist, value=_spread(dist, self.rows))

    def gradient_term(self, draw: pg.Draw, cost: Tensor) -> None:
        """Nothing is missing: the paths carry the gradient."""
        return None

    def refusal(self, dist: Distribution) -> str | None:
        """Refuse laws that do not know their quantiles."""
        source = _source(dist)
        if type(source).icdf is Distribution.icdf:
            return f"{type(source).__name__} has no quantile function (icdf)"
        return None


def _source(dist: Distribution) -> Distribution:
    """Return the law of the noise that a transformed or joined law is made from."""
    while isinstance(dist, Independent | TransformedDistribution):
        dist = dist.base_dist
    return dist


def _spread(dist: Distribution, rows: int) -> Tensor:
    """Return rows of ``dist``, one per stratum of its noise.

    What is done to a row afterwards is done to every row alike, so its law stays right
    whether or not the transform is monotone.
    """
    if isinstance(dist, Independent):
        return _spread(dist.base_dist, rows)
    if isinstance(dist, TransformedDistribution):
        value = _spread(dist.base_dist, rows)
        for transform in dist.transforms:
            value = transform(value)
        return value
    return dist.icdf(_strata(dist, rows))


def _strata(dist: Distribution, rows: int) -> Tensor:
    """Return numbers in (0, 1), shape ``(rows, *batch_shape)``, one row per stratum."""
    parameter = getattr(dist, next(iter(dist.arg_constraints)))
    noise = torch.rand(
        2, rows, *dist.batch_shape, dtype=parameter.dtype, device=parameter.device
    )
    stratum, place = noise[0].argsort(0), noise[1]
    # Rounding must not reach the ends, where quantiles are infinite.
    end = torch.finfo(noise.dtype).eps
    return ((stratum + place) / rows).clamp(end, 1 - end)
