"""The statement that adds a cost to a program."""

from __future__ import annotations

from typing import Any

from pyro.poutine.runtime import am_i_wrapped, apply_stack
from torch import Tensor

from pgplugins.errors import InputTypeError, ProgramError


def cost(name: str, value: Tensor) -> None:
    """Add a cost to the program that is running: a loss, or minus a reward.

    The cost's batch dimensions follow the enclosing plates. An objective
    (:class:`pgplugins.ExpectedCost`) sums it over plates, with their subsampling scale
    and ``poutine.scale`` and ``poutine.mask``, and averages it over particles.

    Args:
        name: What error messages call the cost.
        value: Broadcastable to the shape of the enclosing plates.

    Raises:
        ProgramError: No objective is running.
        InputTypeError: The name is not a string, or the value not a tensor.
        ShapeError: The value has batch dimensions that are no plates, or joins the
            draws of particles that run side by side.

    Example:
        >>> import torch, pyro, pyro.distributions as dist
        >>> import pgplugins as pg
        >>> mu = torch.tensor(1.0, requires_grad=True)
        >>> def program():
        ...     x = pyro.sample("x", dist.Normal(mu, 1.0))
        ...     pg.cost("square", x**2)
        >>> _ = torch.manual_seed(0)
        >>> pg.ExpectedCost(num_particles=10_000)(program).backward()
        >>> round(mu.grad.item(), 1)
        2.0
    """
    if not isinstance(name, str):
        raise InputTypeError(
            f"pg.cost({name!r}, ...) takes a name first, and then the cost."
        )
    if not isinstance(value, Tensor):
        raise InputTypeError(
            f"pg.cost({name!r}, ...) takes a tensor; found {value!r}, a "
            f"{type(value).__name__}. Write torch.as_tensor(...) of it."
        )
    msg: dict[str, Any] = {
        "type": "pgplugins_cost",
        "name": name,
        "fn": lambda: value,
        "is_observed": False,
        "args": (),
        "kwargs": {},
        "value": value,
        "infer": {},
        "scale": 1.0,
        "mask": None,
        "cond_indep_stack": (),
        "done": False,
        "stop": False,
        "continuation": None,
    }
    if am_i_wrapped():
        apply_stack(msg)  # type: ignore[arg-type]
    if "kept" not in msg:
        raise ProgramError(
            f"pg.cost({name!r}, ...) ran outside a program with an objective, so the "
            "cost would be lost. Run the program with pg.ExpectedCost()(program)."
        )
