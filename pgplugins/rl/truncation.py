"""Truncated pathwise gradients: paths are cut every so many steps."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor

from pgplugins.core.numbers import positive_integer
from pgplugins.errors import InputError, InputTypeError
from pgplugins.infer.truncation import tell_truncation

_S = TypeVar("_S")


def truncate(state: _S, step: int, *, every: int) -> _S:
    """Cut the gradient that goes back through the dynamics at every ``every``-th step.

    Write it where a program hands its state from step to step. Values stay as they are.
    The gradient of an action through later states ends at the next cut, which keeps it
    from exploding and is **biased**: what an action does to costs behind the cut is
    ignored. Scores are not touched: a score site still sees all costs that it leads to,
    so the score function is as unbiased as before.

    ``pgplugins.compare`` marks what has been cut as biased. Estimators that combine
    score and path rely on both having the same mean, and are refused where a path was
    cut.

    Args:
        state: A tensor, or tuples, lists and dictionaries of tensors.
        step: The number of the step, from 0.
        every: How many steps a path may be long. The state at the steps ``every``,
            ``2 * every``, ... is detached.

    Returns:
        The state: the same tensors, or detached ones.

    Raises:
        InputError: ``step`` is negative, or ``every`` not positive.
        InputTypeError: The state holds something else than tensors.

    Example:
        >>> import torch
        >>> x = torch.tensor(1.0, requires_grad=True)
        >>> truncate(2 * x, 49, every=50).requires_grad
        True
        >>> truncate(2 * x, 50, every=50).requires_grad
        False
    """
    positive_integer(every, "every")
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise InputError(f"step={step!r}: write the number of the step, from 0.")
    tensors = list(_tensors(state))
    if step == 0 or step % every:
        return state
    if any(tensor.requires_grad for tensor in tensors):
        tell_truncation()
    cut: _S = _detached(state)
    return cut


def _tensors(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, dict):
        state = tuple(state.values())
    if isinstance(state, (tuple, list)):
        return [tensor for part in state for tensor in _tensors(part)]
    raise InputTypeError(
        "pg.rl.truncate takes tensors, or tuples, lists and dictionaries of them; "
        f"found a {type(state).__name__}."
    )


def _detached(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, dict):
        return type(state)((key, _detached(part)) for key, part in state.items())
    parts = [_detached(part) for part in state]
    named = hasattr(state, "_fields")
    return type(state)(*parts) if named else type(state)(parts)
