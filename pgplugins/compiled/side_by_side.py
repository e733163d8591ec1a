"""Running a graph with operations that are alike done side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from pgplugins.compiled.alike import (
    FEW,
    Entries,
    Many,
    Placed,
    Plan,
    Total,
    index_of,
)
from pgplugins.compiled.operations import (
    can_be_stacked,
    is_elementwise,
    kind,
    likeness,
)
from pgplugins.compiled.sums import Running

aten = torch.ops.aten
_MOST = 64  # operations of a pass that are done again
_Row = tuple[int, int]  # which stack, and where in it


class Unlike(RuntimeError):
    """Operations on stacks have other results than the operations."""


def run(graph: GraphModule, plan: Plan, inputs: Sequence[Tensor]) -> Any:
    """Return what the graph returns, up to the rounding of sums.

    Args:
        graph: The graph.
        plan: What to do side by side.
        inputs: One for each of the graph's placeholders.

    Raises:
        Unlike: Operations on stacks have other results than the operations.
        RuntimeError: They have none.
        ValueError: Likewise.
    """
    return _Run(graph, inputs).take(plan)


class _Run:
    """Values of a graph's nodes, by themselves or as rows of stacks."""

    def __init__(self, graph: GraphModule, inputs: Sequence[Tensor]) -> None:
        self._graph, self._inputs = graph, iter(inputs)
        self._values: dict[Node, Any] = {}
        self._stacks: list[Tensor] = []
        self._rows: dict[Node, _Row] = {}
        # Where values that are there by themselves are as well.
        self._copies: dict[Node, _Row] = {}
        self._placed: dict[int, list[Node]] = {}
        self._stacked: dict[tuple[Node, ...], Tensor] = {}

    def take(self, plan: Plan) -> Any:
        """Go through the plan."""
        for unit in plan.units:
            match unit:
                case Many():
                    nodes = self._in_order(unit.nodes)
                    self._keep(nodes, self._apply(nodes))
                case Entries():
                    self._look_up(sorted(unit.nodes, key=index_of))
                case Placed():
                    self._place(sorted(unit.nodes, key=index_of))
                case Running():
                    self._run_up(unit)
                case Total():
                    self._values[unit.node] = self._total(unit.terms)
                case Node() if unit.op == "output":
                    return map_arg(unit.args[0], self._get)
                case Node():
                    self._values[unit] = self._one(unit)
        raise AssertionError("A graph has an output.")

    def _one(self, node: Node) -> Any:
        if node.op == "placeholder":
            return next(self._inputs)
        if node.op == "get_attr":
            return getattr(self._graph, str(node.target))
        if node.target is aten.stack.default and node.args[1:] in ((), (0,)):
            parts: Any = node.args[0]
            if len(set(map(likeness, parts))) == 1:
                return self._stack(parts)
        args, kwargs = map_arg((node.args, node.kwargs), self._get)
        assert callable(node.target)
        return node.target(*args, **kwargs)

    def _get(self, node: Node) -> Any:
        if node not in self._values:
            stack, at = self._rows[node]
            self._values[node] = self._stacks[stack][at]
        return self._values[node]

    def _keep(self, nodes: Sequence[Node], stack: Tensor) -> None:
        """Note that nodes are the rows of a stack, in their order."""
        self._rows |= self._numbered(nodes, _checked(nodes, stack))

    def _numbered(self, nodes: Sequence[Node], stack: Tensor) -> dict[Node, _Row]:
        self._stacks.append(stack)
        number = len(self._stacks) - 1
        return {node: (number, at) for at, node in enumerate(nodes)}

    def _in_order(self, nodes: list[Node]) -> list[Node]:
        """Put operations into the order of the rows that they take."""
        for at, given in enumerate(nodes[0].args):
            if isinstance(given, Node):
                rows = [self._rows.get(_node(node.args[at])) for node in nodes]
                known = [row for row in rows if row is not None]
                if len(set(known)) == len(nodes):
                    order = sorted(range(len(nodes)), key=known.__getitem__)
                    return [nodes[i] for i in order]
        return nodes

    def _apply(self, nodes: Sequence[Node]) -> Tensor:
        """Do what all nodes do, on stacks of what they take."""
        first = nodes[0]
        places = [i for i, a in enumerate(first.args) if isinstance(a, Node)]
        taken = [[_node(node.args[i]) for node in nodes] for i in places]
        target: Any = first.target

        def one(*given: Tensor) -> Any:
            args: list[Any] = list(first.args)
            for place, value in zip(places, given, strict=True):
                args[place] = value
            return target(*args, **first.kwargs)

        if _takes_one_element_of_each(first):
            return _checked(nodes, one(*map(self._stack, taken)))
        shared = [all(n is column[0] for n in column) for column in taken]
        if all(shared):
            value = one(*(self._get(column[0]) for column in taken))
            return _checked(nodes, _repeated(value, len(nodes)))
        given = [
            self._get(column[0]) if same else self._stack(column)
            for column, same in zip(taken, shared, strict=True)
        ]
        dims = tuple(None if same else 0 for same in shared)
        return _checked(nodes, torch.vmap(one, in_dims=dims)(*given))

    def _look_up(self, nodes: Sequence[Node]) -> None:
        tensor, dim = self._get(_node(nodes[0].args[0])), nodes[0].args[1]
        first = index_of(nodes[0]) % tensor.shape[dim]
        self._keep(nodes, tensor.movedim(dim, 0)[first : first + len(nodes)])

    def _place(self, nodes: list[Node]) -> None:
        gradients = self._stack([_node(node.args[0]) for node in nodes])
        self._rows |= self._numbered(nodes, gradients)
        self._placed[len(self._stacks) - 1] = nodes

    def _run_up(self, chain: Running) -> None:
        steps, nodes = chain.steps, chain.nodes
        first, second = (self._rows.get(step[0], (0, 0)) for step in steps[:2])
        # So that the rows are in the order of the rows that they are made of.
        back = first > second
        if back:
            steps = steps[::-1]
        added = self._sum([self._stack(column) for column in zip(*steps, strict=True)])
        total = added.flip(0).cumsum(0).flip(0) if back else added.cumsum(0)
        total = total + self._get(chain.start)
        self._keep(nodes[::-1] if back else nodes, total)

    def _total(self, terms: Sequence[Node]) -> Tensor:
        by_stack: dict[int, list[Node]] = defaultdict(list)
        alone = []
        for term in terms:
            if term in self._rows:
                by_stack[self._rows[term][0]].append(term)
            else:
                alone.append(self._get(term))
        return self._sum([*map(self._added_up, by_stack, by_stack.values()), *alone])

    def _added_up(self, stack: int, nodes: list[Node]) -> Tensor:
        """Add up rows of a stack."""
        if stack not in self._placed:
            return self._stack(sorted(nodes, key=self._rows.__getitem__)).sum(0)
        first, *_ = self._placed[stack]
        gradients = self._stacks[stack]
        sizes: Any = first.args[1]
        dim: Any = first.args[2]
        dim %= len(sizes)
        before = index_of(first) % sizes[dim]
        after = sizes[dim] - before - len(gradients)
        gradients = gradients.movedim(0, dim)
        if before == after == 0:
            return gradients
        margins = [0, 0] * (len(sizes) - 1 - dim) + [before, after]
        return torch.nn.functional.pad(gradients, margins)

    @staticmethod
    def _sum(tensors: Sequence[Tensor]) -> Tensor:
        first, *others = tensors
        for other in others:
            first = first + other
        return first

    def _stack(self, nodes: Sequence[Node]) -> Tensor:
        """Return the values of nodes as one tensor, one row for each."""
        key = tuple(nodes)
        if key not in self._stacked:
            self._stacked[key] = self._new_stack(key)
        return self._stacked[key]

    def _new_stack(self, nodes: tuple[Node, ...]) -> Tensor:
        if all(node is nodes[0] for node in nodes):
            return _repeated(self._get(nodes[0]), len(nodes))
        alone = {n: None for n in nodes if self._row(n) is None}
        if len(alone) >= FEW:
            if self._can_be_done_again(nodes):
                return self._apply(nodes)
            self._copy(list(alone))
        parts = [
            self._slice(*row, last)
            if row is not None
            else _repeated(self._get(nodes[at]), last)
            for at, row, last in _runs(nodes, [self._row(node) for node in nodes])
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _row(self, node: Node) -> _Row | None:
        return self._rows.get(node) or self._copies.get(node)

    def _can_be_done_again(self, nodes: tuple[Node, ...]) -> bool:
        """Whether what a loop has done pass by pass can be done at once afterwards.

        That takes less than to put the results together, unless a pass needs the
        result of the pass before.
        """
        if not all(can_be_stacked(n) and is_elementwise(n) for n in nodes):
            return False
        if len(set(map(kind, nodes))) > 1:
            return False
        middle = nodes[len(nodes) // 2]
        left, seen = middle.all_input_nodes, {middle}
        while left:
            node = left.pop()
            if node in seen or self._row(node) is not None or not can_be_stacked(node):
                continue
            seen.add(node)
            if kind(node) == kind(middle) or len(seen) > _MOST:
                return False
            left += node.all_input_nodes if is_elementwise(node) else []
        return True

    def _copy(self, nodes: list[Node]) -> None:
        """Make a stack of nodes, with all that are like them: they may be next."""
        kinds = {(_what(n), likeness(n)) for n in nodes}
        more = [n for n in self._values if self._row(n) is None]
        more = [n for n in more if (_what(n), likeness(n)) in kinds]
        if len(more) > 2 * len(nodes):
            more = nodes
        stack = torch.stack([self._get(node) for node in more])
        self._copies |= self._numbered(more, stack)

    def _slice(self, stack: int, first: int, last: int) -> Tensor:
        rows = self._stacks[stack]
        if first > last:
            return rows[last : first + 1].flip(0)
        whole = first == 0 and last == len(rows) - 1
        return rows if whole else rows[first : last + 1]


def _runs(
    nodes: Sequence[Node], rows: Sequence[_Row | None]
) -> Iterator[tuple[int, _Row | None, int]]:
    """Cut nodes into neighbouring rows of a stack, and repetitions of what is no row.

    Yields where one begins, its row, and the last row or how often it is repeated.
    """
    at = 0
    while at < len(rows):
        row, end = rows[at], at + 1
        if row is None:
            while end < len(rows) and nodes[end] is nodes[at]:
                end += 1
            yield at, None, end - at
        else:
            stack, first = row
            step = 1 if end < len(rows) and rows[end] == (stack, first + 1) else -1
            while end < len(rows) and rows[end] == (stack, first + step * (end - at)):
                end += 1
            yield at, row, first + step * (end - at - 1)
        at = end


def _checked(nodes: Sequence[Node], stack: Tensor) -> Tensor:
    like = nodes[0].meta["val"]
    if stack.shape != (len(nodes), *like.shape) or stack.dtype != like.dtype:
        raise Unlike(f"{stack.shape} of {stack.dtype} at {nodes[0].target}")
    return stack


def _takes_one_element_of_each(node: Node) -> bool:
    """Whether shapes and types need no care: those of a stack are as good."""
    values = [given.meta["val"] for given in node.all_input_nodes]
    shapes = {value.shape for value in [*values, node.meta["val"]]}
    return is_elementwise(node) and len(shapes) == len({v.dtype for v in values}) == 1


def _repeated(value: Tensor, times: int) -> Tensor:
    return value.expand(times, *value.shape)


def _what(node: Node) -> object:
    return node.target if node.op == "call_function" else node.op


def _node(value: object) -> Node:
    assert isinstance(value, Node)
    return value
