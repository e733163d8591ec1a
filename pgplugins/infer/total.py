"""The sum of all cost terms, and the search for the one that is not finite."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from pgplugins.core.fold import CostTerm
from pgplugins.core.finite import require_finite


def total_cost(costs: Iterable[CostTerm]) -> Tensor:
    """Sum cost terms over their plates and over one another; a scalar."""
    total: Tensor | None = None
    for cost in costs:
        part = cost.value.sum()
        total = part if total is None else total + part
    assert total is not None
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
