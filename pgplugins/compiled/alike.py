"""Which operations of a graph can be done side by side, as one operation.

A model of fifty sites has fifty of each of its operations, and a compiler takes its
time with every one. Those that do the same to tensors of one shape, and do not wait for
one another, are one operation on a stack of what they take (batching on the fly; Neubig
et al. 2017). Alike are operations whose neighbourhoods in the graph are: what they
take and who takes their results, some operations far. A loop's operations wait for one
another where one pass through the loop needs the pass before; one operation that does
them all would wait for itself, so they stay as they are.
"""

from __future__ import annotations

import graphlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch.fx import Graph, Node
from torch.utils._pytree import tree_leaves

from pgplugins.compiled.operations import can_be_stacked, kind, likeness
from pgplugins.compiled.sums import Running, running, sums_of
from pgplugins.compiled.tidying import writes

aten = torch.ops.aten

FEW = 8
"""Operations side by side at least: stacking what fewer take is not worth it."""
_NEAR, _FAR = 2, 6  # operations, how far neighbourhoods reach


@dataclass(eq=False)
class Many:
    """Operations that are one on stacks of their arguments."""

    nodes: list[Node]


@dataclass(eq=False)
class Entries:
    """Entries of one tensor along one dimension."""

    nodes: list[Node]


@dataclass(eq=False)
class Placed:
    """Entries' gradients as gradients of the tensor, which one sum adds up."""

    nodes: list[Node]


@dataclass(eq=False)
class Total:
    """A sum of many terms."""

    node: Node
    terms: list[Node]


Group = Many | Entries | Placed | Running
Unit = Node | Total | Group


@dataclass
class Plan:
    """What to do, in this order.

    Args:
        units: Operations, alone or together.
        nodes: How many operations they are.
    """

    units: list[Unit]
    nodes: int


def plan(graph: Graph) -> Plan:
    """Find the operations that can be done side by side.

    Args:
        graph: Without writes. Nodes know what they are like (``meta["val"]``).
    """
    nodes = list(graph.nodes)
    assert not any(map(writes, nodes))
    sums = sums_of(nodes)
    chains = running(sums, FEW)
    while True:
        found = _Finder(nodes, sums, chains)
        tangled = found.settle()
        if not tangled:
            return Plan(found.order(), len(nodes))
        chains = [chain for chain in chains if chain not in tangled]


class _Finder:
    """Groups operations until no group waits for itself."""

    def __init__(
        self,
        nodes: Sequence[Node],
        sums: Mapping[Node, Sequence[Node]],
        chains: Sequence[Running],
    ) -> None:
        self.chains = chains
        self.chain_of = {n: chain for chain in chains for n in chain.nodes}
        self.totals = {
            root: list(terms)
            for root, terms in sums.items()
            if root not in self.chain_of and len(terms) >= FEW
        }
        inside = set[Node]()
        for root in [*self.totals, *self.chain_of]:
            inside.update(_inside(root, sums[root]))
        self.live = [n for n in nodes if n not in inside]
        self.taken = {n: self.totals.get(n, n.all_input_nodes) for n in self.live}
        for chain in chains:
            self.taken |= zip(chain.nodes, chain.steps, strict=True)
            self.taken[chain.nodes[0]] = [chain.start, *chain.steps[0]]
        self.users: dict[Node, list[tuple[Node, int]]] = {n: [] for n in self.live}
        for node in self.live:
            for given, at in self._arguments(node):
                self.users[given].append((node, at))
        self._entries = _entries(self.live)
        self.groups: list[Group] = []
        self.group_of: dict[Node, Group] = {}

    def _arguments(self, node: Node) -> list[tuple[Node, int]]:
        if self._is_sum(node):
            return [(term, 0) for term in self.taken[node]]  # terms have no order
        arguments = enumerate([*node.args, *node.kwargs.values()])
        # Neither have the parts of a list: loops append to lists.
        leaves = [(leaf, at) for at, arg in arguments for leaf in tree_leaves(arg)]
        return [(leaf, at) for leaf, at in leaves if isinstance(leaf, Node)]

    def settle(self) -> list[Running]:
        """Find the groups; return chains that wait for themselves, if there are any."""
        free = [n for n in self.live if self._is_free(n)]
        colours = self._colours()
        near = dict.fromkeys(free, _NEAR)
        while True:
            alike: dict[tuple[int, int], list[Node]] = defaultdict(list)
            for node, far in near.items():
                alike[far, colours[far][node]].append(node)
            groups = [self._group(a) for a in alike.values() if len(a) >= FEW]
            self.groups = [*groups, *self.chains]
            self.group_of = {n: g for g in self.groups for n in g.nodes}
            tangled = self._tangled()
            chains = [g for g in tangled if isinstance(g, Running)]
            if not tangled or chains:
                return chains
            for group in tangled:
                for node in group.nodes:
                    near[node] += 1
                    if near[node] > _FAR:
                        del near[node]

    def _is_sum(self, node: Node) -> bool:
        return node in self.totals or node in self.chain_of

    def _is_free(self, node: Node) -> bool:
        return not self._is_sum(node) and can_be_stacked(node)

    def _colours(self) -> list[dict[Node, int]]:
        """Number neighbourhoods of the radii 0, 1, ...; equal ones have one number."""
        numbers: dict[object, int] = {}

        def number(key: object) -> int:
            return numbers.setdefault(key, len(numbers))

        found = [{n: number(self._colour(n)) for n in self.live}]
        for radius in range(1, _FAR + 1):
            last, now = found[-1], dict[Node, int]()
            for node in self.live:
                given = [] if self._is_sum(node) else self.taken[node]
                users = sorted((last[user], at) for user, at in self.users[node])
                around = tuple(last[g] for g in given), tuple(users)
                now[node] = number((radius, last[node], around))
            found.append(now)
        return found

    def _colour(self, node: Node) -> object:
        if node in self.chain_of:
            return "running", self.chains.index(self.chain_of[node])
        if node in self.totals:
            return "total", node.name
        if not self._is_free(node):
            many = node.op != "call_function" and len(self.users[node]) < FEW
            return node.op, "" if many else str(node.target), likeness(node)
        key = self._entry_of(node)
        return kind(node) if key is None else key

    def _entry_of(self, node: Node) -> object:
        """What a node is one of many entries of."""
        key = _entry_of(node)
        return None if key is None or len(self._entries[key]) < FEW else key

    def _group(self, nodes: list[Node]) -> Group:
        if self._entry_of(nodes[0]) is None:
            return Many(nodes)
        return Entries(nodes) if nodes[0].target is aten.select.int else Placed(nodes)

    def _tangled(self) -> list[Group]:
        """Return the groups that wait for themselves, or that nobody can use."""
        found = [g for g in self.groups if not self._is_usable(g)]
        units = list(dict.fromkeys(map(self._unit, self.live)))
        number = {unit: i for i, unit in enumerate(units)}
        edges = [
            (number[self._unit(given)], number[self._unit(node)])
            for node in self.live
            for given in self.taken[node]
        ]
        rows, columns = zip(*edges, strict=True) if edges else ((), ())
        links = coo_array(
            ([1] * len(edges), (rows, columns)), shape=(len(units), len(units))
        )
        _, parts = connected_components(links, connection="strong")
        size = Counter(parts.tolist())
        with_itself = {units[a] for a, b in edges if a == b}
        for unit, part in zip(units, parts.tolist(), strict=True):
            circle = size[part] > 1 or unit in with_itself
            if circle and not isinstance(unit, Node) and unit not in found:
                found.append(unit)
        return found

    def _is_usable(self, group: Group) -> bool:
        if not isinstance(group, (Entries, Placed)):
            return True
        indices = sorted(map(index_of, group.nodes))
        first, last = indices[0], indices[-1]
        if indices != list(range(first, last + 1)) or first < 0 <= last:
            return False
        # What is placed is never there as itself, so that one sum has to take it all.
        users = [user for node in group.nodes for user, _ in self.users[node]]
        in_one_sum = len(users) == len(indices) and set(users) <= self.totals.keys()
        return isinstance(group, Entries) or (in_one_sum and len(set(users)) == 1)

    def _unit(self, node: Node) -> Node | Group:
        return self.group_of.get(node, node)

    def order(self) -> list[Unit]:
        """Put the units into an order, operations that are alone as early as may be.

        Stacks are then made of all that there is to stack. The order depends on nothing
        but the graph: noise goes where it went before.
        """
        units = list(dict.fromkeys(map(self._unit, self.live)))
        number = {unit: i for i, unit in enumerate(units)}
        waits: dict[Node | Group, dict[Node | Group, None]] = {u: {} for u in units}
        for node in self.live:
            for given in self.taken[node]:
                waits[self._unit(node)][self._unit(given)] = None
        left = graphlib.TopologicalSorter(waits)
        left.prepare()
        ready: list[tuple[bool, int]] = []
        found: list[Unit] = []
        while left.is_active():
            for unit in left.get_ready():
                heapq.heappush(ready, (not isinstance(unit, Node), number[unit]))
            _, at = heapq.heappop(ready)
            unit = units[at]
            left.done(unit)
            if isinstance(unit, Node) and unit in self.totals:
                found.append(Total(unit, self.totals[unit]))
            else:
                found.append(unit)
        return found


def _inside(root: Node, terms: Sequence[Node]) -> Iterator[Node]:
    """Go through the partial sums of a sum, which nobody else looks at."""
    ends = set(terms)
    left = [a for a in root.all_input_nodes if a not in ends]
    while left:
        node = left.pop()
        yield node
        left += [a for a in node.all_input_nodes if a not in ends]


def _entry_of(node: Node) -> tuple[object, ...] | None:
    """What an entry, or its gradient, is an entry of."""
    if node.target is aten.select.int:
        return node.target, node.args[0], node.args[1]
    if node.target is aten.select_backward.default:
        return node.target, repr(node.args[1]), node.args[2]
    return None


def index_of(node: Node) -> int:
    """Which entry an entry is, or an entry's gradient."""
    index = node.args[-1]
    assert isinstance(index, int)
    return index


def _entries(nodes: Iterable[Node]) -> dict[tuple[object, ...], set[object]]:
    found = defaultdict[tuple[object, ...], set[object]](set)
    for node in nodes:
        key = _entry_of(node)
        if key is not None:
            found[key].add(index_of(node))
    return found
