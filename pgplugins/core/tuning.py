"""Tensors that an estimator tunes by itself, to lower its own variance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Tuned(nn.Module):
    """A vector with Adam's moments, all of them buffers.

    It is no parameter: nobody else's optimizer trains it, and a checkpoint holds the
    whole state (Kingma and Ba 2015, algorithm 1).

    Args:
        rate: The learning rate.

    Example:
        >>> tuned = Tuned(rate=0.1)
        >>> tuned.start(torch.ones(1))
        >>> tuned.step(torch.full((1,), 3.0))
        >>> tuned.leaf()
        tensor([0.9000], requires_grad=True)
    """

    value: Tensor
    mean: Tensor
    square: Tensor
    steps: Tensor

    def __init__(self, rate: float) -> None:
        """Start without entries."""
        super().__init__()
        self.rate = rate
        for name in ("value", "mean", "square"):
            self.register_buffer(name, torch.zeros(0))
        self.register_buffer("steps", torch.tensor(0))

    @property
    def started(self) -> bool:
        """Whether there are entries."""
        return self.value.numel() > 0

    def start(self, value: Tensor) -> None:
        """Set the entries, and their moments to zero."""
        self.value = value.detach().clone()
        self.mean = torch.zeros_like(value)
        self.square = torch.zeros_like(value)

    def leaf(self) -> Tensor:
        """Return the entries as a leaf to differentiate for."""
        return self.value.detach().requires_grad_()

    def step(self, gradient: Tensor) -> None:
        """Take one step against the gradient; none if it is not finite."""
        finite = gradient.isfinite().all()
        steps = self.steps + 1
        count = steps.double()
        mean = self.mean.lerp(gradient, 0.1)
        square = self.square.lerp(gradient.square(), 0.001)
        size = (square / (1 - 0.999**count).to(square)).sqrt() + 1e-8
        rate = (self.rate / (1 - 0.9**count)).to(mean)
        # Not a branch, which a traced step could not take.
        self.steps = torch.where(finite, steps, self.steps)
        self.mean = torch.where(finite, mean, self.mean)
        self.square = torch.where(finite, square, self.square)
        self.value = torch.where(finite, self.value - rate * mean / size, self.value)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any
    ) -> None:
        for name in ("value", "mean", "square"):
            stored = state_dict.get(prefix + name)
            if stored is not None:
                # Their size is only known once a site has been seen.
                setattr(self, name, torch.empty_like(stored))
        super()._load_from_state_dict(dict(state_dict), prefix, *args)
