"""Recorded steps: their tensors checked, and sums that run backwards through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from pgplugins.errors import InputError, InputTypeError, ShapeError

TIME_FIRST: Final = "time first, then the environments: (time, *batch)"


def require_steps(what: str, values: Mapping[str, Tensor | None]) -> torch.Size:
    """Raise unless tensors agree in a shape ``(time, *batch)``; returns it.

    Args:
        what: The function that was called, for the message.
        values: By argument; ``None`` was not given.

    Raises:
        InputTypeError: One is not a tensor.
        ShapeError: One has no time, or they differ.

    Example:
        >>> require_steps("returns", {"rewards": torch.ones(4, 2), "mask": None})
        torch.Size([4, 2])
    """
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        if not isinstance(value, Tensor):
            raise InputTypeError(
                f"pg.rl.{what}: {name} is a {type(value).__name__}; write "
                "torch.as_tensor(...) of it."
            )
    first, *_ = given.values()
    shape = first.shape
    if len(shape) == 0 or any(value.shape != shape for value in given.values()):
        found = ", ".join(f"{n} {tuple(v.shape)}" for n, v in given.items())
        raise ShapeError(
            f"pg.rl.{what} takes tensors of one shape, {TIME_FIRST}; found {found}."
        )
    return shape


def require_flags(what: str, values: Mapping[str, Tensor | None]) -> None:
    """Raise unless tensors are of type bool: an id or a weight is no flag.

    Raises:
        InputTypeError: Naming the argument.
    """
    for name, value in values.items():
        if value is not None and value.dtype != torch.bool:
            raise InputTypeError(
                f"pg.rl.{what}: {name} has type {value.dtype}; write {name}.bool() if "
                "its entries say yes or no."
            )


def ends_of(
    what: str,
    like: Tensor,
    terminated: Tensor | None,
    truncated: Tensor | None,
    mask: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return where episodes terminate, where they end at all, and what is live.

    Args:
        what: The function that was called, for the message.
        like: A tensor of the shape of the others.
        terminated: ``None`` stands for nowhere.
        truncated: ``None`` stands for nowhere.
        mask: ``None`` stands for everywhere.

    Raises:
        InputError: An episode goes on into a step that is masked.
    """
    require_flags(
        what, {"terminated": terminated, "truncated": truncated, "mask": mask}
    )
    none = torch.zeros_like(like, dtype=torch.bool)
    dead = none if terminated is None else terminated
    ended = dead if truncated is None else dead | truncated
    live = ~none if mask is None else mask
    lost = live[:-1] & ~ended[:-1] & ~live[1:]
    if lost.any():
        step, *where = lost.nonzero()[0].tolist()
        raise InputError(
            f"pg.rl.{what}: the episode at step {step}, batch index {tuple(where)} "
            "neither terminates nor is truncated there, but the step after it is "
            "masked, so what became of it is unknown. Set terminated or truncated at "
            "the last step of every episode, or mask the step as well."
        )
    return dead, ended, live


def summed_backwards(values: Tensor, carry: Tensor) -> Tensor:
    """Return ``s_t = values_t + carry_t * s_{t+1}``, time first.

    Example:
        >>> summed_backwards(torch.tensor([1.0, 2.0, 4.0]), torch.full((3,), 0.5))
        tensor([3., 4., 4.])
    """
    sums = torch.empty_like(values)
    ahead = torch.zeros_like(values[0])
    for t in range(len(values) - 1, -1, -1):
        ahead = values[t] + carry[t] * ahead
        sums[t] = ahead
    return sums
