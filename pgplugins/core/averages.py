"""Averages over past rows, which forget exponentially."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class PastAverage(nn.Module):
    """Mean of past rows: all alike until ``horizon`` is reached, fading from then on.

    Args:
        horizon: How many rows are remembered.
        per_column: How many rows are remembered per column, if that is more.

    Example:
        >>> past = PastAverage(horizon=100.0)
        >>> past.update(torch.tensor([[1.0], [3.0]]))
        >>> past.value.tolist()
        [2.0]
    """

    weight: Tensor
    value: Tensor | None

    def __init__(self, horizon: float, per_column: float = 0.0) -> None:
        """Start without a past."""
        super().__init__()
        self.horizon = horizon
        self.per_column = per_column
        self.register_buffer("weight", torch.zeros((), dtype=torch.float64))
        self.register_buffer("value", None)

    def update(self, rows: Tensor) -> None:
        """Take in rows of shape ``(N, columns)``, unless they are not finite.

        An average of rows with other columns starts afresh.
        """
        finite = rows.isfinite().all(-1)
        count = finite.sum()
        # Not a selection, whose size would depend on values.
        kept = torch.where(finite.unsqueeze(-1), rows, 0.0).double()
        mean, columns = kept.sum(0) / count.clamp_min(1), rows.shape[1]
        if self.value is None or self.value.shape != mean.shape:
            self.weight = torch.zeros_like(self.weight)
            self.value = mean
        most = max(self.horizon, self.per_column * columns)
        self.weight = (self.weight + count).clamp_max(most)
        share = (count / self.weight.clamp_min(1.0)).clamp_max(1.0).to(mean)
        self.value = self.value.lerp(mean, share)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any
    ) -> None:
        # Its size is only known once rows have been seen.
        found = state_dict.get(prefix + "value")
        self.value = None if found is None else found.clone()
        super()._load_from_state_dict(state_dict, prefix, *args)
