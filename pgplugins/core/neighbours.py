"""Rows next door: one coordinate of a draw replaced at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.algebra import zero_valued
from pgplugins.core.draw import Draw
from pgplugins.core.features import Feature, WeakDerivative, WeakDerivatives
from pgplugins.core.parameters import parameters_of
from pgplugins.core.parts import element
from pgplugins.errors import EstimatorError


@dataclass
class _Difference:
    """The rows of one scalar parameter per element, and what they are weighed with."""

    parameter: Tensor  # (*batch, elements)
    scale: Tensor  # the same
    plus: slice
    minus: slice


def draw_with_neighbours(
    dist: Distribution, feature: Feature[WeakDerivatives], max_rows: int
) -> Draw:
    """Draw one row and, with weight zero, the neighbours that a feature asks for.

    The weights have the full batch shape: the rows of one batch element are its own, so
    a cost that joins several cannot be used, and the fold says so.

    Raises:
        EstimatorError: There are more than ``max_rows`` rows.
    """
    batch = len(dist.batch_shape)
    inner = element(dist)
    derivatives = feature.of(dist)
    assert derivatives is not None
    value = dist.sample()
    # What is not differentiated for needs no rows.
    pairs = [pair for pair in derivatives(value) if pair.parameter.requires_grad]
    joined = dist.event_shape[: len(dist.event_shape) - len(inner.event_shape)]
    count = joined.numel()
    total = 1 + sum(count * (1 if p.minus is None else 2) for p in pairs)
    if total > max_rows:
        raise EstimatorError(
            f"{total} rows are needed, for {count} elements of {len(pairs)} parameters "
            f'each, more than max_rows={max_rows}. Write estimator="score_function", '
            "or raise max_rows."
        )
    rows = [value.unsqueeze(0)]
    differences = []
    place = 1
    for pair in pairs:
        plus = slice(place, place + count)
        place += count
        rows.append(_replaced(value, pair.plus, batch, count, inner))
        minus = slice(0, 1)
        if pair.minus is not None:
            minus = slice(place, place + count)
            place += count
            rows.append(_replaced(value, pair.minus, batch, count, inner))
        differences.append(_difference(pair, dist, joined, plus, minus))
    everything = torch.cat(rows)
    like = next(iter(parameters_of(inner).values()))
    weight = torch.zeros(total, *dist.batch_shape, dtype=like.dtype, device=like.device)
    weight[0] = 1
    return Draw(dist=dist, value=everything, weight=weight, extra=differences)


def difference_term(draw: Draw, cost: Tensor) -> Tensor | None:
    """Return the zero whose gradient is every scaled difference of costs.

    Args:
        draw: What :func:`draw_with_neighbours` returned.
        cost: Shape ``(rows, *batch_shape)``, or with dimensions of others between.

    Returns:
        Shape ``(*batch_shape)``, or with those dimensions; ``None`` if no parameter is
        differentiated for.
    """
    held = cost.detach()
    term: Tensor | None = None
    differences: Sequence[_Difference] = draw.extra
    for one in differences:
        change = (held[one.plus] - held[one.minus]).movedim(0, -1)
        part = (one.scale * change * zero_valued(one.parameter)).sum(-1)
        term = part if term is None else term + part
    return term


def uncovered(
    dist: Distribution, feature: Feature[WeakDerivatives], what: str
) -> str | None:
    """Say which parameters a family's offer leaves out; ``None`` if none."""
    offer = feature.of(dist)
    if offer is None:
        return None  # what the family lacks altogether is said elsewhere
    wanted = {k for k, v in parameters_of(element(dist)).items() if v.requires_grad}
    missing = sorted(wanted - offer.parameters)
    if not missing:
        return None
    return (
        f"{type(element(dist)).__name__} has no {what} for {', '.join(missing)}, "
        f"only for {', '.join(sorted(offer.parameters))}"
    )


def _difference(
    pair: WeakDerivative,
    dist: Distribution,
    joined: torch.Size,
    plus: slice,
    minus: slice,
) -> _Difference:
    shape = dist.batch_shape + joined
    flat = (*dist.batch_shape, joined.numel())
    return _Difference(
        pair.parameter.expand(shape).reshape(flat),
        pair.scale.detach().expand(shape).reshape(flat),
        plus,
        minus,
    )


def _replaced(
    value: Tensor, other: Tensor, batch: int, count: int, inner: Distribution
) -> Tensor:
    """Replace one element at a time: shape ``(count, *value.shape)``."""
    event = inner.event_shape
    flat = (*value.shape[:batch], count, *event)
    which = torch.eye(count, dtype=torch.bool, device=value.device)
    which = which.reshape(count, *(1,) * batch, count, *(1,) * len(event))
    rows = torch.where(which, other.detach().reshape(flat), value.reshape(flat))
    return rows.reshape(count, *value.shape)
