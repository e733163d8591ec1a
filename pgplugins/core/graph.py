"""Walks through the autograd graph that ``backward`` would take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor


def nodes_below(root: Tensor) -> Iterator[Any]:
    """Yield every node that ``backward`` from ``root`` would pass, each once."""
    seen: set[object] = {root.grad_fn}
    stack: list[Any] = [] if root.grad_fn is None else [root.grad_fn]
    while stack:
        node = stack.pop()
        yield node
        for parent, _ in node.next_functions:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)


def leaves_below(root: Tensor) -> list[Tensor]:
    """Return the tensors that ``backward`` from ``root`` would leave gradients in.

    Example:
        >>> import torch
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> leaves_below(2 * x + 1)[0] is x
        True
    """
    if root.grad_fn is None:
        return [root] if root.requires_grad else []
    return [node.variable for node in nodes_below(root) if hasattr(node, "variable")]


def reaches(root: Tensor, values: Iterable[Tensor]) -> bool:
    """Whether ``backward`` from ``root`` would reach any of the values.

    Leaves are not looked for.
    """
    goals = {v.grad_fn for v in values if v.grad_fn is not None}
    return bool(goals) and any(node in goals for node in nodes_below(root))
