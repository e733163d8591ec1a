"""Regression on the past: coefficients that have not seen the draw they are used on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class PastRegression(nn.Module):
    """Regresses targets on zero-mean columns, from averages of past moments.

    A control variate with coefficients fitted on the same batch is biased, and one
    fitted on the other rows of the batch needs many of them; coefficients from past
    draws are unbiased for any number. Targets and columns come in ``groups`` that are
    regressed apart: one group is a full regression, one group per parameter costs
    memory linear in the parameters.

    Args:
        horizon: How many past rows the averages remember, in units of regression
            columns.
        ridge: Added to the diagonal of the columns' covariance, relative to it.
    """

    weight: Tensor
    mean: Tensor | None
    second: Tensor | None

    def __init__(self, horizon: float = 100.0, ridge: float = 1e-3) -> None:
        """Start without a past."""
        super().__init__()
        self.horizon = horizon
        self.ridge = ridge
        self.register_buffer("weight", torch.zeros(()))
        self.register_buffer("mean", None)
        self.register_buffer("second", None)

    def coefficients(self, columns: int) -> Tensor | None:
        """Return the coefficients fitted so far.

        Args:
            columns: Number of columns ``q`` in each group.

        Returns:
            Shape ``(groups, q, targets)``, or ``None`` while the past is too short to
            say anything.
        """
        if self.mean is None or self.second is None or self.weight < 4 * columns:
            return None
        mean, second = self.mean, self.second
        covariance = second - mean[:, :columns, None] * mean[:, None, :]
        gram = covariance[:, :, :columns]
        cross = covariance[:, :, columns:]
        scale = gram.diagonal(dim1=-2, dim2=-1).clamp_min(1e-300).rsqrt()
        gram = gram * scale[:, :, None] * scale[:, None, :]
        gram = gram + self.ridge * torch.eye(columns, dtype=gram.dtype).to(gram)
        factor, failed = torch.linalg.cholesky_ex(gram)
        if failed.any():
            return None
        solved = torch.cholesky_solve(cross * scale[:, :, None], factor)
        return solved * scale[:, :, None]

    def update(self, columns: Tensor, targets: Tensor) -> None:
        """Take rows into the averages.

        Args:
            columns: Shape ``(groups, rows, q)``.
            targets: Shape ``(groups, rows, p)``.
        """
        rows, q = columns.shape[1:]
        joint = torch.cat([columns, targets], -1).double()
        mean = joint.mean(1)
        second = joint[:, :, :q].transpose(1, 2) @ joint / rows
        keep = self.weight.clamp_max(self.horizon * q)
        share = rows / (keep + rows)
        self.weight = keep + rows
        if self.mean is None or self.second is None:
            self.mean, self.second = mean, second
        else:
            self.mean = self.mean.lerp(mean, share.to(mean))
            self.second = self.second.lerp(second, share.to(second))

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any
    ) -> None:
        for name in ("mean", "second"):
            # Their sizes are only known once a site has been seen.
            setattr(self, name, state_dict.get(prefix + name))
        super()._load_from_state_dict(state_dict, prefix, *args)
