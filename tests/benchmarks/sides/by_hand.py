"""Plain torch: the loss, its backward pass and torch's fused Adam."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tests.benchmarks.rows import HAND, HAND_COMPILED, Build, Steps, Written


def by_hand(written: Written) -> dict[str, Build]:
    """Return both sides: as it stands, and with the loss in ``torch.compile``."""

    def eager(particles: int, rate: float) -> Steps:
        params = _parameters(written)
        return adam(lambda: written.loss(params, particles), params, rate)

    def compiled(particles: int, rate: float) -> Steps:
        params = _parameters(written)
        # Anew for every number of particles, never a graph for all of them.
        torch.compiler.reset()
        loss = torch.compile(written.loss, fullgraph=True, dynamic=False)
        return adam(lambda: loss(params, particles), params, rate)

    return {HAND: eager, HAND_COMPILED: compiled}


def _parameters(written: Written) -> dict[str, Tensor]:
    return {n: p.clone().requires_grad_() for n, p in written.start().items()}


def adam(loss: Callable[[], Tensor], params: dict[str, Tensor], rate: float) -> Steps:
    """Steps of Adam on a loss with a gradient."""
    optimizer = torch.optim.Adam(params.values(), lr=rate, fused=True)

    def step() -> float:
        optimizer.zero_grad()
        found = loss()
        found.backward()
        optimizer.step()
        return found.item()

    return Steps(step)
