"""Expectations of plain functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.derivatives import refuse_second
from pgplugins.core.estimator import Estimator
from pgplugins.core.finite import require_finite, require_unwritten, version_of
from pgplugins.core.fit import check_draw, require_fit
from pgplugins.core.flatness import guard_flat_cost
from pgplugins.core.fold import fold
from pgplugins.core.numbers import positive_integer, real_cost
from pgplugins.core.parts import describe
from pgplugins.core.terms import CostTerm, Plate, Site
from pgplugins.distribution import unmasked, unwrapped
from pgplugins.errors import InputTypeError, ShapeError
from pgplugins.families.expanded import expand
from pgplugins.infer.choice import EstimatorRules
from pgplugins.plugins import Site as SiteInfo

SITE: Final = "expectation"
"""The name of the only site."""


def expectation(
    cost: Callable[[Tensor], Tensor],
    dist: Distribution,
    *,
    estimator: str | Estimator | type[Estimator] | None = None,
    num_samples: int = 1,
) -> Tensor:
    """Estimate an expected cost; ``backward()`` estimates its gradient.

    Args:
        cost: Maps samples ``(num_samples, *batch, *event)`` to costs ``(num_samples,
            *b)``, where ``b`` is ``batch`` or lacks leading dimensions of it that the
            cost has summed over. An estimator with several rows passes ``rows *
            num_samples`` samples in one call.
        dist: Any torch or Pyro distribution.
        estimator: A name, or an instance, which learns from call to call if it has
            state; by default pathwise where there is ``rsample``, else score function.
        num_samples: Number of independent draws.

    Returns:
        Shape ``b``: the mean cost, with a gradient for the distribution's parameters
        and for whatever else the cost depends on.

    Raises:
        InputError: ``num_samples`` is not a positive integer.
        InputTypeError: ``dist`` is not a distribution, or ``cost`` no function, or what
            it returns no tensor.
        ProgramError: The cost has written into its samples.
        UnknownEstimatorError: Nothing is registered under the name.
        EstimatorError: The estimator does not fit the distribution; from ``backward``
            with ``create_graph=True``, if it has first derivatives only.
        ShapeError: The cost has another shape.
        NotFiniteError: A cost is nan or infinite.
        FlatCostError: The estimator is pathwise and the cost varies without a gradient;
            if it has a graph all the same, ``backward()`` raises it.

    Example:
        >>> import torch
        >>> mu = torch.tensor(0.5, requires_grad=True)
        >>> d = torch.distributions.Normal(mu, 1.0)
        >>> _ = torch.manual_seed(0)
        >>> loss = expectation(lambda x: (x - 2) ** 2, d, num_samples=10_000)
        >>> loss.backward()
        >>> round(mu.grad.item(), 1)  # exactly 2 (mu - 2)
        -3.0
    """
    positive_integer(num_samples, "num_samples")
    if not isinstance(dist, Distribution):
        raise InputTypeError(
            f"pg.expectation(cost, dist) takes a distribution as its second argument; "
            f"found a {type(dist).__name__}."
        )
    if not callable(cost):
        raise InputTypeError(
            "pg.expectation(cost, dist) takes a function from samples to costs as its "
            f"first argument; found a {type(cost).__name__}."
        )
    chosen = _choose(estimator, dist)
    found = record(cost, dist, chosen, num_samples)
    batch = len(found.site.draw.dist.batch_shape) - 1
    summed = batch - len(found.kept)
    draws = found.cost.value.reshape(-1, *found.kept)
    parts = []
    for term in fold([found.site], [found.cost]):
        # Whatever the cost has summed over, the score terms are summed over too.
        part = term.value.reshape(term.value.shape[term.value.dim() - 1 - batch :])
        parts.append((part.flatten(1, summed).sum(1) if summed else part).mean(0))
    loss = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    if "differentiable_cost" in found.site.traits.needs:
        kind = describe(unmasked(unwrapped(dist)))
        guard_flat_cost([found.site.draw.value], draws, kind, chosen.name, loss)
    refuse_second(loss, [("", chosen)])
    return loss


class Recorded(NamedTuple):
    """A draw from a distribution and its cost, as a program of one site.

    The samples are the outermost plate, and the batch dimensions are plates as well.

    Args:
        site: Its draw has batch shape ``(num_samples, *batch)``.
        cost: The site's cost; its value begins with the rows, if there are several.
        kept: The batch dimensions that the cost has not summed over.
    """

    site: Site
    cost: CostTerm
    kept: torch.Size


def record(
    cost: Callable[[Tensor], Tensor],
    dist: Distribution,
    estimator: Estimator,
    num_samples: int,
) -> Recorded:
    """Draw samples and evaluate their cost: :func:`expectation` before its fold.

    Raises:
        EstimatorError: The estimator does not fit the distribution.
        ShapeError: The cost has another shape than :func:`expectation` says.
        NotFiniteError: A cost is nan or infinite.
        ProgramError: The cost has written into its samples.
    """
    base = unmasked(unwrapped(dist))
    require_fit(estimator, base)
    batch = base.batch_shape
    law = expand(base, torch.Size((num_samples, *batch)))
    draw = estimator.draw(law)
    check_draw(SITE, estimator, draw, law)
    draw.particle_dim = -1 - len(batch)

    samples = draw.value_beside().flatten(0, 1)
    version = version_of(samples)
    value = cost(samples)
    require_unwritten(samples, version, "pg.expectation")
    kept = _check_cost(value, samples, batch)
    value = real_cost(value, "The cost")
    require_finite(value, "The cost")
    ones = (1,) * (len(batch) - len(kept))
    value = value.reshape(draw.rows, num_samples, *ones, *kept)
    row_dim = None if draw.rows == 1 else -value.dim()
    if row_dim is None:
        value = value.squeeze(0)

    plates = [
        Plate(f"batch dimension {dim}", dim, law.batch_shape[dim])
        for dim in range(-len(law.batch_shape), 0)
    ]
    of_cost = frozenset([plates[0], *plates[len(plates) - len(kept) :]])
    site = Site(
        SITE, estimator, draw, frozenset(plates), bit=1, upstream=0, row_dim=row_dim
    )
    return Recorded(site, CostTerm("cost", value, of_cost, upstream=1), kept)


def _choose(
    estimator: str | Estimator | type[Estimator] | None, dist: Distribution
) -> Estimator:
    infer = {} if estimator is None else {"estimator": estimator}
    return EstimatorRules(None).choose(SiteInfo(SITE, dist, infer)).estimator


def _check_cost(value: object, samples: Tensor, batch: torch.Size) -> torch.Size:
    """Return the batch dimensions that the cost has kept."""
    n = samples.shape[0]
    wanted = f"({n}, {', '.join(map(str, batch))})" if batch else f"({n},)"
    if not isinstance(value, Tensor):
        raise InputTypeError(
            f"The cost must be a tensor of shape {wanted}; found a "
            f"{type(value).__name__}. Compute it from the samples with torch."
        )
    kept = value.shape[1:]
    if (
        value.dim() == 0
        or value.shape[0] != n
        or (len(kept) > len(batch) or kept != batch[len(batch) - len(kept) :])
    ):
        raise ShapeError(
            f"The cost has shape {tuple(value.shape)}; for samples of shape "
            f"{tuple(samples.shape)} it must be {wanted}, or lack leading batch "
            "dimensions that it has summed over."
        )
    return kept
