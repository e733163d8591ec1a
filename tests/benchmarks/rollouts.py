"""Long rollouts: the time, work and memory of one step must not grow with the horizon.

A linear system is controlled in parallel environments. What is compared is the cost per
step of rollouts of different lengths, so that a flat row means a linear cost.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

import pgplugins as pg

LENGTHS = (50, 200, 800)
KINDS: dict[str, dict[str, Any]] = {
    "score_function": {"estimators": "score_function"},
    "score_function, order": {
        "estimators": "score_function",
        "dependencies": "order",
    },
    "score_function, plates": {
        "estimators": "score_function",
        "dependencies": "plates",
    },
    "score_function, static": {"estimators": "score_function", "static": True},
    "reparameterized": {"estimators": "reparameterized"},
    "hybrid": {"estimators": "hybrid"},
    "total_propagation": {"estimators": "total_propagation"},
}

GAIN = torch.tensor([[0.3, 0.4]], dtype=torch.float32, requires_grad=True)
TRANSITION = torch.tensor([[1.0, 0.2], [0.0, 0.9]], dtype=torch.float32)
CONTROL = torch.tensor([[0.0], [0.5]], dtype=torch.float32)


def rollout(steps: int, environments: int) -> Callable[[], None]:
    """A program of ``steps`` actions and costs in a plate of environments."""

    def program() -> None:
        with pyro.plate("environment", environments, dim=-1):
            x = torch.ones(2, dtype=GAIN.dtype)
            for t in range(steps):
                law = dist.Normal(-(x @ GAIN.T), 0.3).to_event(1)
                u = pyro.sample(f"u{t}", law)
                pg.cost(f"c{t}", (x * x).sum(-1) + 0.1 * (u * u).sum(-1))
                x = x @ TRANSITION.T + u @ CONTROL.T

    return program


def steps_of(kind: str, environments: int = 16) -> dict[int, Callable[[], float]]:
    """One gradient of a whole rollout, by the rollout's length."""
    return {n: _gradient(kind, n, environments) for n in LENGTHS}


def _gradient(kind: str, steps: int, environments: int) -> Callable[[], float]:
    objective = pg.ExpectedCost(**KINDS[kind], num_particles=2, max_plate_nesting=1)
    program = rollout(steps, environments)

    def run() -> float:
        loss = objective(program) / environments
        torch.autograd.grad(loss, GAIN)
        return loss.item()

    return run


@dataclass(frozen=True)
class Work:
    """What one gradient took.

    Args:
        instructions: Bytecode instructions of Python, of all libraries.
        kernels: Operations of torch, forward and backward.
        python_bytes: The most that Python objects took up.
        saved_bytes: Tensors that were kept for the backward pass.
    """

    instructions: int
    kernels: int
    python_bytes: int
    saved_bytes: int


def work_of(kind: str, steps: int, warm_up: int = 4) -> Work:
    """Count instead of timing: the same on every machine, however busy."""
    run = _gradient(kind, steps, environments=2)
    for _ in range(warm_up):
        run()
    saved = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal saved
        saved += tensor.numel() * tensor.element_size()
        return tensor

    tracemalloc.start()
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    with _Kernels() as kernels:
        run()
    return Work(_instructions(run), kernels.count, most, saved)


def _instructions(run: Callable[[], object]) -> int:
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


class _Kernels(TorchDispatchMode):
    """Counts operations."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))
