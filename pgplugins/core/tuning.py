"""Tensors that an estimator tunes by itself, to lower its own variance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Tuned(nn.Module):
    """Named tensors with Adam's moments, all of them buffers.

    They are no parameters: nobody else's optimizer trains them, and a checkpoint holds
    the whole state (Kingma and Ba 2015, algorithm 1).

    Args:
        rate: The learning rate.

    Example:
        >>> tuned = Tuned(rate=0.1)
        >>> tuned.start({"x": torch.tensor(1.0)})
        >>> tuned.step({"x": torch.tensor(3.0)})
        >>> round(tuned.leaves()["x"].item(), 3)
        0.9
    """

    steps: Tensor

    def __init__(self, rate: float) -> None:
        """Start without tensors."""
        super().__init__()
        self.rate = rate
        self.register_buffer("steps", torch.tensor(0))

    @property
    def started(self) -> bool:
        """Whether there are tensors."""
        return len(self._buffers) > 1

    def start(self, values: Mapping[str, Tensor]) -> None:
        """Set the tensors, and their moments to zero."""
        for name, value in values.items():
            self.register_buffer(name, value.detach().clone())
            self.register_buffer(f"{name}_mean", torch.zeros_like(value))
            self.register_buffer(f"{name}_square", torch.zeros_like(value))

    def leaves(self) -> dict[str, Tensor]:
        """Return the tensors as leaves to differentiate for."""
        names = [n for n in self._buffers if f"{n}_square" in self._buffers]
        return {n: self.get_buffer(n).detach().requires_grad_() for n in names}

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """Take one step against the gradients; none if one of them is not finite."""
        if not all(bool(g.isfinite().all()) for g in gradients.values()):
            return
        self.steps = self.steps + 1
        count = float(self.steps)
        for name, gradient in gradients.items():
            mean = self.get_buffer(f"{name}_mean").lerp(gradient, 0.1)
            square = self.get_buffer(f"{name}_square").lerp(gradient**2, 0.001)
            size = (square / (1 - 0.999**count)).sqrt() + 1e-8
            value = self.get_buffer(name)
            setattr(self, name, value - self.rate * mean / (1 - 0.9**count) / size)
            setattr(self, f"{name}_mean", mean)
            setattr(self, f"{name}_square", square)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any
    ) -> None:
        for key, value in state_dict.items():
            name = key.removeprefix(prefix)
            if key.startswith(prefix) and name not in self._buffers:
                # Their shapes are only known once a site has been seen.
                self.register_buffer(name, torch.empty_like(value))
        super()._load_from_state_dict(dict(state_dict), prefix, *args)
