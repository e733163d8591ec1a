"""The sum of all cost terms, and the search for the one that is not finite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from pgplugins.core.finite import require_finite
from pgplugins.core.terms import CostTerm

_FEW = 4


def total_cost(costs: Iterable[CostTerm]) -> Tensor:
    """Sum cost terms over their plates and over one another; a scalar."""
    # Apart from those without a gradient, which the way back would pass as well.
    alike: dict[tuple[torch.Size, bool], list[Tensor]] = {}
    for cost in costs:
        value = cost.value
        alike.setdefault((value.shape, value.requires_grad), []).append(value)
    return _add([_add(values).sum() for values in alike.values()])


def add_up(losses: Iterator[Tensor]) -> Tensor:
    """Sum losses that are made one by one, in one graph."""
    total = next(losses)
    for loss in losses:
        total = total + loss
    return total


def _add(values: list[Tensor]) -> Tensor:
    """Add tensors of one shape."""
    if len(values) > _FEW:
        # A program of many small sites would spend its time adding one by one.
        return torch.stack(values).sum(0)
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def check_costs(total: Tensor, costs: Iterable[CostTerm]) -> None:
    """Raise unless the total is finite, naming the cost that is not.

    Raises:
        NotFiniteError: Naming the first site or cost that is nan or infinite.
    """
    if total.isfinite():
        return
    for cost in costs:
        require_finite(cost.value, f"The cost at site {cost.name!r}")
    require_finite(total, "The loss")
