"""What the table is made of: a row is a model, a side is whoever takes steps on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

OURS, COMPILED = "pgplugins", "pgplugins, compiled"
PYRO, JIT, NUMPYRO = "Pyro", "Pyro, JIT", "NumPyro"
HAND, HAND_COMPILED = "torch by hand", "torch.compile by hand"
STORCHASTIC = "Storchastic"
PEERS = (PYRO, JIT, NUMPYRO, HAND, HAND_COMPILED, STORCHASTIC)
ADAM = 1e-3
"""Everybody's learning rate."""


@dataclass(frozen=True)
class Steps:
    """How a side takes steps of Adam on all parameters.

    Args:
        step: Takes one, and returns the loss before it.
        run: Takes many in one call, for a side that can; others repeat ``step``.
    """

    step: Callable[[], object]
    run: Callable[[int], object] | None = None


Build = Callable[[int, float], Steps]
"""Particles and learning rate to steps. It starts from the row's own parameters."""


@dataclass(frozen=True)
class Written:
    """A model in plain torch, as one would write it for this model alone.

    Args:
        start: Makes the unconstrained parameters, by the names of Pyro's store.
        loss: Parameters and particles to a loss whose gradient is the estimate.
    """

    start: Callable[[], dict[str, Tensor]]
    loss: Callable[[dict[str, Tensor], int], Tensor]


@dataclass(frozen=True)
class Row:
    """A model, and those who are timed on it.

    Args:
        about: One line for the table.
        sides: Who is timed. :data:`COMPILED` is held against all others.
        written: The model in plain torch.
        objective: Particles to our loss and its unconstrained parameters by name.
        left_out: Peers that have no side here, and why.
        samples: Something is drawn; else particles would all be the same.
    """

    about: str
    sides: Mapping[str, Build]
    written: Written
    objective: Callable[[int], tuple[Callable[[], Tensor], dict[str, Tensor]]]
    left_out: Mapping[str, str] = field(default_factory=dict)
    samples: bool = True
