"""Running a program again on the random numbers that it drew before."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Generators:
    """Where all generators that ``pyro.set_rng_seed`` seeds are.

    Example:
        >>> here = Generators.now()
        >>> first = torch.rand(3)
        >>> here.restore()
        >>> torch.rand(3).equal(first)
        True
    """

    cpu: Tensor
    devices: list[Tensor]
    python: Any
    numpy: Any

    @classmethod
    def now(cls) -> Generators:
        """Note where they are."""
        return cls(
            torch.random.get_rng_state(),
            torch.cuda.get_rng_state_all() if _devices_in_use() else [],
            random.getstate(),
            np.random.get_state(),
        )

    def restore(self) -> None:
        """Go back there."""
        torch.random.set_rng_state(self.cpu)
        if self.devices:
            torch.cuda.set_rng_state_all(self.devices)
        random.setstate(self.python)
        np.random.set_state(self.numpy)


def _devices_in_use() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_initialized()
