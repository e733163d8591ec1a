"""A pathwise gradient of a cost that has none is refused, not returned as zero."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pgplugins.core.graph import reaches
from pgplugins.core.learning import is_tracing
from pgplugins.errors import FlatCostError


def guard_flat_cost(
    values: Sequence[Tensor],
    cost: Tensor,
    what: str,
    estimator: str,
    loss: Tensor | None = None,
) -> None:
    """Refuse costs that differ between draws but have no gradient for any of them.

    Steps, signs and rounding have a gradient of exactly zero almost everywhere, so a
    pathwise estimator sees nothing of them (pyro#2277). Costs without a path to any
    sample are refused at once; costs whose paths carry nothing but exact zeros, when
    ``backward`` has reached all samples.

    Args:
        values: The attached draws of the program, one tensor per site.
        cost: Their costs, draws along the first dimension. With a single draw, costs
            are compared across its batch elements.
        what: What was drawn from, for the message.
        estimator: The estimator, for the message.
        loss: What ``backward`` starts from, if that is not ``cost``.

    Raises:
        FlatCostError: Here, or from ``backward``.
    """
    attached = [v for v in values if v.requires_grad]
    if not attached or is_tracing():
        return  # in a trace there are no values to compare
    held = cost.detach()
    if held.numel() == 0:
        return
    if held.dim() > 1 and held.shape[0] > 1:
        low, high = held.amin(0), held.amax(0)
    else:
        low, high = held.aminmax()
    rounding = 100 * torch.finfo(held.dtype).eps * held.abs().amax()
    if bool((high - low <= rounding).all()):
        return
    message = (
        f"The cost differs between draws of {what}, but its gradient with respect to "
        f'the sample is zero everywhere, so estimator "{estimator}" would return a '
        "gradient of zero. Does the cost compare, round, or call .item() or .detach()? "
        'Write estimator="score_function", which needs no gradient of the cost.'
    )
    if not reaches(cost, attached):
        raise FlatCostError(message)
    left = len(attached)
    moved = counts = False

    def note_weight(gradient: Tensor) -> None:
        nonlocal counts
        counts = counts or bool(gradient.any())

    def refuse_zeros(gradient: Tensor) -> None:
        nonlocal left, moved
        left -= 1
        moved = moved or bool(gradient.any())
        if left == 0 and counts and not moved:
            raise FlatCostError(message)

    # A loss that is multiplied by zero has a zero gradient by right.
    (cost if loss is None else loss).register_hook(note_weight)
    for value in attached:
        value.register_hook(refuse_zeros)
