"""Graphs without what is there twice, or does nothing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.multiprocessing.reductions import StorageWeakRef

aten = torch.ops.aten
_SMALL = 16  # elements of a constant that is compared with others
_SAME = {aten.detach.default, aten.alias.default}
_SAME_IF_OF_ITS_SHAPE = {
    aten.expand.default,
    aten.view.default,
    aten.reshape.default,
    aten._unsafe_view.default,
}
_BY_STRIDES = {
    aten.as_strided.default,
    aten.view.dtype,
    aten.view_as_complex.default,
    aten.view_as_real.default,
}
_ELSEWHERE = {
    aten.normal_.default: aten.normal_functional.default,
    aten.uniform_.default: aten.uniform.default,
    aten.exponential_.default: aten.exponential.default,
    aten.squeeze_.dim: aten.squeeze.dim,
    aten.unsqueeze_.default: aten.unsqueeze.default,
}
"""What is written to new memory, and what is returned instead."""


def draws(node: Node) -> bool:
    """Whether an operation takes noise from a generator."""
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def writes(node: Node) -> bool:
    """Whether an operation changes what it is given."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def looks_at_memory(node: Node) -> bool:
    """Whether a result depends on where in memory its argument's elements lie."""
    return node.target in _BY_STRIDES


def write_elsewhere(graph: GraphModule) -> None:
    """Return what would be written to memory that nobody else has seen."""
    for node in graph.graph.nodes:
        if node.target in _ELSEWHERE and _is_only_its(node.args[0], node):
            node.target = _ELSEWHERE[node.target]


def _is_only_its(given: object, node: Node) -> bool:
    if not isinstance(given, Node) or given.op != "call_function":
        return False
    shape_alone = torch.Tag.inplace_view in node.target.tags  # type: ignore[union-attr]
    fresh = not (getattr(given.target, "is_view", True) or writes(given))
    return (shape_alone or fresh) and list(given.users) == [node]


def once(graph: GraphModule) -> None:
    """Compute once what is written twice; two draws from one law stay two.

    Torch's own pass tells draws by a list, on which the Dirichlet's is missing.
    """
    # What is returned is somebody's own, who may write into it.
    returned = {_memory(n) for n in graph.graph.output_node().all_input_nodes}
    known: dict[tuple[object, str], Node] = {}
    for node in list(graph.graph.nodes):
        if (
            node.op != "call_function"
            or node.target is aten.copy_.default
            or draws(node)
            or _memory(node) in returned
        ):
            continue
        # As text 1, 1.0 and True are different, and so are 0.0 and -0.0.
        before = known.setdefault((node.target, f"{node.args}{node.kwargs}"), node)
        if before is not node:
            _replace(node, before)


def tidy(graph: GraphModule) -> None:
    """Make one of equal constants, and leave out what returns what it is given.

    Views need not be views, as nobody writes: tensors may lie in memory otherwise than
    when the graph was traced.

    Args:
        graph: Without writes. Nodes know what they are like (``meta["val"]``).
    """
    constants: dict[tuple[object, ...], Node] = {}
    for node in list(graph.graph.nodes):
        if node.op == "get_attr":
            value = node.meta["val"]
            if value.numel() <= _SMALL and value.layout is torch.strided:
                content = value.detach().cpu().reshape(-1).view(torch.uint8).tolist()
                key = (value.dtype, value.device, value.shape, tuple(content))
                before = constants.setdefault(key, node)
                if before is not node:
                    _replace(node, before)
        elif _changes_nothing(node):
            _replace(node, node.args[0])
        elif node.target in (aten.view.default, aten._unsafe_view.default):
            node.target = aten.reshape.default
    graph.graph.eliminate_dead_code()
    once(graph)


def _changes_nothing(node: Node) -> bool:
    given = node.args[0] if node.args else None
    if not isinstance(given, Node):
        return False
    if node.target in _SAME:
        return True
    return (
        node.target in _SAME_IF_OF_ITS_SHAPE
        and node.meta["val"].shape == given.meta["val"].shape
    )


def _replace(node: Node, by: object) -> None:
    assert isinstance(by, Node)
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)


def _memory(node: Node) -> object:
    value = node.meta.get("val")
    return (
        StorageWeakRef(value.untyped_storage()) if isinstance(value, Tensor) else node
    )
