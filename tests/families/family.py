"""A row of the catalogue: a distribution, its parameters, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

Cost = Callable[[Tensor], Tensor]
Values = Mapping[str, Tensor]


@dataclass(frozen=True)
class Family:
    """A distribution that Pyro exports, with a point to measure gradients at.

    Args:
        exported: The name in ``pyro.distributions``.
        start: The values of the parameters that are differentiated for.
        build: Makes the distribution of those parameters, by name.
        note: What tells this row from others of the same distribution.
        truth: The exact gradient of an expected cost, by parameter; without it the
            estimators are compared with one another.
        centre: Where the cost is steepest.
        width: How far from there it is flat.
        without_expectation: Parameters whose pathwise gradient is of something else.
        samples: How many draws one call takes.
        dtype: Of the parameters.
        slow: Its draws or its density take too long for every run of the tests.
        remark: What the table adds.
        own_cost: In place of the cost that all families share.
    """

    exported: str
    start: Mapping[str, Any]
    build: Callable[..., Distribution]
    note: str = ""
    truth: Callable[[Family], dict[str, Tensor]] | None = None
    centre: float = 0.4
    width: float = 1.0
    without_expectation: tuple[str, ...] = ()
    samples: int = 1000
    dtype: torch.dtype = torch.float64
    slow: bool = False
    remark: str = ""
    own_cost: Cost | None = None

    @property
    def label(self) -> str:
        """Tell the rows of the table apart."""
        return f"{self.exported} ({self.note})" if self.note else self.exported

    def parameters(self) -> dict[str, Tensor]:
        """Return fresh leaves."""
        return {
            name: torch.tensor(value, dtype=self.dtype, requires_grad=True)
            for name, value in self.start.items()
        }

    def law(self) -> Distribution:
        """Return the distribution of fresh leaves."""
        return self.build(**self.parameters())

    def cost(self, x: Tensor, event_dim: int) -> Tensor:
        """Smooth, bounded and flat in the tails: every moment of it is finite.

        Coordinates count differently and meet one another, so that no parameter's
        gradient vanishes by symmetry.
        """
        x = x.to(torch.float64)
        if self.own_cost is not None:
            return self.own_cost(x)
        if event_dim == 0:
            return _bump((x - self.centre) / self.width)
        flat = x.flatten(-event_dim)
        place = torch.arange(flat.shape[-1], dtype=x.dtype)
        y = _bump((flat - self.centre) / self.width)
        joint = torch.tanh((flat * torch.cos(1.3 * place)).sum(-1) / self.width)
        return (y * (1 + 0.5 * torch.cos(2.1 * place))).sum(-1) + joint


def _bump(z: Tensor) -> Tensor:
    y = torch.tanh(z)
    return y + 0.3 * torch.sin(2 * y)
