"""A draw: the rows of values that an estimator hands to the program."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.algebra import box


@dataclass
class Draw:
    """Rows of values drawn at one site, with their weights.

    The estimate of an expected cost is ``sum_r weight_r * cost_r`` over the rows. A row
    of weight zero is an auxiliary evaluation.

    Args:
        dist: The distribution that was drawn from.
        value: Shape ``(rows, *batch_shape, *event_shape)``.
        weight: Broadcastable to ``(rows, *batch_shape)``, sums to one over rows. ``None``
            stands for equal weights.
        extra: Whatever the estimator wants to find again in ``gradient_term``.
        particle_dim: Set by the front: the batch dimension (negative, counted from the
            right) along which draws are independent replicates, or ``None``.

    Example:
        >>> d = torch.distributions.Normal(torch.zeros(3), 1.0)
        >>> draw = Draw(dist=d, value=d.sample().unsqueeze(0))
        >>> draw.rows, tuple(draw.log_prob.shape)
        (1, (1, 3))
    """

    dist: Distribution
    value: Tensor
    weight: Tensor | None = None
    extra: Any = None
    particle_dim: int | None = None
    _log_prob: Tensor | None = field(default=None, repr=False)
    _box: Tensor | None = field(default=None, repr=False)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.value.shape[0]

    @property
    def log_prob(self) -> Tensor:
        """Log-density of the held values, shape ``(rows, *batch_shape)``.

        The value is detached and cloned (a transform with a cache would otherwise
        return the path that led to it), the parameters are not: its gradient is the
        score.
        """
        if self._log_prob is None:
            held = self.value.detach().clone()
            self._log_prob = self.dist.log_prob(held)
        return self._log_prob

    @property
    def box(self) -> Tensor:
        """``exp(l - stop(l)) - 1`` for ``l = log_prob``: zero, with the score as gradient.

        Correct to every order of differentiation (Foerster et al. 2018, eq. 9).
        """
        if self._box is None:
            self._box = box(self.log_prob)
        return self._box

    @property
    def particles(self) -> int:
        """Number of independent replicates along ``particle_dim`` (1 if there is none)."""
        if self.particle_dim is None:
            return 1
        return int(self.dist.batch_shape[self.particle_dim])
