"""What the operations of a graph are like, and which of them can work on stacks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import Node

from pgplugins.compiled.formulas import cross_entropy

aten = torch.ops.aten
_SMALL = 4096  # elements; larger tensors keep a processor busy alone
_OTHERS = {  # neither elementwise nor reductions; a tidy graph has no other views
    aten.select.int,
    aten.select_backward.default,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.expand.default,
    aten.reshape.default,
    aten.t.default,
    aten.permute.default,
    aten.mm.default,
    aten._to_copy.default,
}


def kind(node: Node) -> tuple[object, ...]:
    """What an operation does, to tensors of which shapes; not to which tensors."""
    taken = [likeness(a) if isinstance(a, Node) else repr(a) for a in node.args]
    return node.target, likeness(node), tuple(taken), repr(node.kwargs)


def likeness(node: Node) -> tuple[object, ...]:
    """What a node's value has in common with those that it can be stacked with."""
    value = node.meta.get("val")
    names = ("shape", "dtype", "device")
    return tuple(getattr(value, name, None) for name in names)


def can_be_stacked(node: Node) -> bool:
    """Whether such operations can be one on stacks of their arguments."""
    known = is_elementwise(node) or _reduces(node) or node.target in _OTHERS
    given = node.all_input_nodes
    return (
        node.op == "call_function"
        and known
        and bool(given)
        and all(isinstance(n.meta.get("val"), Tensor) for n in (node, *given))
        # A number on one device and a vector on another can be multiplied; two
        # vectors cannot.
        and len({n.meta["val"].device for n in (node, *given)}) == 1
        and _is_small(node)
        and (node.target is aten.select.int or all(map(_is_small, given)))
        # Lists of tensors and tensors by name are rare.
        and set(given) == set(filter(_is_node, node.args))
        and not any(map(_is_node, node.kwargs.values()))
    )


def _is_small(node: Node) -> bool:
    return bool(node.meta["val"].numel() <= _SMALL)


def is_elementwise(node: Node) -> bool:
    """Whether an operation does the same to every element."""
    pointwise = torch.Tag.pointwise in getattr(node.target, "tags", ())
    return pointwise or node.target is cross_entropy


def _reduces(node: Node) -> bool:
    return torch.Tag.reduction in getattr(node.target, "tags", ())


def _is_node(value: object) -> bool:
    return isinstance(value, Node)
