"""Sums of many terms, and sums that grow term by term, in a graph of additions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.fx import Node

Sums = Mapping[Node, Sequence[Node]]


@dataclass(eq=False)
class Running:
    """A sum that grows step by step, and is looked at after every step.

    Args:
        start: The sum before the first step.
        steps: What each step adds, as many terms at each, alike from step to step.
        nodes: The sum after each step.
    """

    start: Node
    steps: list[list[Node]]
    nodes: list[Node]


def sums_of(nodes: Sequence[Node]) -> dict[Node, list[Node]]:
    """Return the terms of all sums that somebody looks at.

    Partial sums that nobody looks at are taken apart.
    """
    partial = {n for n in nodes if _adds(n) and _only_added(n)}
    found = {}
    for node in nodes:
        if _adds(node) and node not in partial:
            terms: list[Node] = []
            left = [node]
            while left:
                for given in left.pop().args:
                    assert isinstance(given, Node)
                    (left if given in partial else terms).append(given)
            found[node] = terms
    return found


def _adds(node: Node) -> bool:
    if node.target is not torch.ops.aten.add.Tensor or node.kwargs:
        return False
    own = node.meta["val"]
    if not own.is_floating_point():  # sums of integers are of another type
        return False
    others = [a.meta["val"] for a in node.args if isinstance(a, Node)]
    return len(others) == 2 and all(
        isinstance(o, Tensor)
        and (o.shape, o.dtype, o.device) == (own.shape, own.dtype, own.device)
        for o in others
    )


def _only_added(node: Node) -> bool:
    if len(node.users) != 1:
        return False
    (user,) = node.users
    # To take doublings apart would be exponentially many terms.
    return _adds(user) and user.args.count(node) == 1


def running(sums: Sums, least: int) -> list[Running]:
    """Find sums that grow by terms of the same kinds at ``least`` steps or more."""
    after: dict[Node, Node] = {}
    for node, terms in sums.items():
        for term in terms:
            if term in sums and term not in after and terms.count(term) == 1:
                after[term] = node
                break
    later = set(after.values())
    found = []
    for head in sums:
        if head in later:
            continue
        chain = [head]
        while chain[-1] in after:
            chain.append(after[chain[-1]])
        found += _runs(chain, sums, least)
    return found


def _runs(chain: Sequence[Node], sums: Sums, least: int) -> list[Running]:
    steps = [
        sorted((t for t in sums[node] if t is not before), key=_target)
        for before, node in pairwise(chain)
    ]
    kinds = [Counter(map(_target, step)) for step in steps]
    found, first = [], 0
    for at in range(1, len(steps) + 1):
        if at == len(steps) or kinds[at] != kinds[first]:
            if at - first >= least:
                nodes = list(chain[first + 1 : at + 1])
                found.append(Running(chain[first], steps[first:at], nodes))
            first = at
    return found


def _target(node: Node) -> str:
    return str(node.target) if node.op == "call_function" else node.op
