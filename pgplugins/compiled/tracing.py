"""From a Python function to a flat graph whose inputs are all tensors that it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyro
import torch
from pyro.infer.util import is_validation_enabled
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from pgplugins.compiled.origins import Origins, place
from pgplugins.core.learning import Learn, collected
from pgplugins.errors import CompileError, PgpluginsError

Write = tuple[Tensor, Tensor]


@dataclass
class Traced:
    """One run of a function, as operations on tensors.

    Args:
        graph: Takes the tensors that the function found outside (``held``) and then its
            arguments; returns outputs, new values of ``written``, and what is learnt
            from, in this order.
        held: Tensors that existed before, in the order of the graph's inputs.
        outputs: How many outputs the function has.
        written: Of the tensors in ``held``: which are written to, in the order of their
            new values.
        lessons: What is due after every run, and how many tensors it takes (``None``
            in the place of a tensor that is not there).
    """

    graph: GraphModule
    held: list[Tensor]
    outputs: int
    written: list[int]
    lessons: list[tuple[Learn, tuple[bool, ...]]]


@dataclass
class Result:
    """What a function that is traced returns.

    Args:
        outputs: Tensors that every run returns.
        writes: Pairs of a tensor that existed before and its new value.
    """

    outputs: Sequence[Tensor]
    writes: Sequence[Write]


def trace(
    function: Callable[..., Result], arguments: Sequence[Tensor], origins: Origins
) -> Traced:
    """Run ``function`` on stand-ins for its arguments, and record what it does.

    Nothing is computed, and no tensor outside changes.

    Args:
        function: Called with as many tensors as there are arguments.
        arguments: Tensors of the shapes that the graph is for.
        origins: Which draws values come from.

    Raises:
        CompileError: The function asks for the value of a tensor, or does something
            else that depends on values; naming the line.
        PgpluginsError: As the function raises.
    """
    written: list[Tensor] = []
    counts: list[int] = []
    lessons: list[tuple[Learn, tuple[bool, ...]]] = []

    def flat(*inputs: Tensor) -> list[Tensor]:
        with collected() as due, torch.enable_grad():
            result = function(*inputs)
        written.extend(old for old, _ in result.writes)
        counts.append(len(result.outputs))
        lessons.extend((d.learn, tuple(t is not None for t in d.tensors)) for d in due)
        values = [*result.outputs, *(new for _, new in result.writes)]
        values += [t for d in due for t in d.tensors if t is not None]
        return values

    traced = make_fx(
        flat,
        tracing_mode="fake",
        _allow_non_fake_inputs=True,
    )
    try:
        with _unvalidated(), origins:
            graph = traced(*arguments)
    except PgpluginsError:
        raise
    except Exception as error:
        raise CompileError(
            f"{place(error.__traceback__)}the program cannot be traced, because "
            "it asks for values that a graph does not have, or does what a graph "
            f"cannot hold: {_first_line(error)}"
        ) from error
    finally:
        origins.restore()
    held = _lift(graph, written)
    where = {id(tensor): i for i, tensor in enumerate(held)}
    return Traced(
        graph, held, counts[0], [where[id(tensor)] for tensor in written], lessons
    )


def _lift(graph: GraphModule, wanted: Sequence[Tensor]) -> list[Tensor]:
    """Make inputs of all tensors that existed before, the wanted ones in any case.

    Tensors that the function has made of Python numbers stay constants.
    """
    inputs: dict[int, Node] = {}
    held: list[Tensor] = []
    nodes = graph.graph
    first = next(iter(nodes.nodes))

    def lift(tensor: Tensor) -> Node:
        if id(tensor) not in inputs:
            with nodes.inserting_before(first):
                inputs[id(tensor)] = nodes.placeholder(f"held_{len(held)}")
            inputs[id(tensor)].meta["val"] = tensor
            held.append(tensor)
        return inputs[id(tensor)]

    taken = [n for n in nodes.nodes if n.op == "get_attr" and not _is_fresh(n)]
    for node in taken:
        node.replace_all_uses_with(lift(getattr(graph, str(node.target))))
    for tensor in wanted:
        lift(tensor)
    for node in taken:  # the first of them marks where inputs are put
        nodes.erase_node(node)
    for node in nodes.nodes:
        if node.op == "get_attr":
            node.meta["val"] = getattr(graph, str(node.target))
    graph.recompile()
    return held


def _is_fresh(node: Node) -> bool:
    fresh = torch.ops.aten.lift_fresh_copy.default
    return all(user.target is fresh for user in node.users)


def difference(first: Traced, again: Traced) -> str | None:
    """Say what a trace does otherwise than an earlier one, ``None`` if nothing.

    Numbers that a function has taken from Python are part of its graph, so that what
    changes from call to call shows. What the later trace does besides is its own.
    """
    earlier, later = _operations(first.graph), _operations(again.graph)
    for (a, one), (b, other) in zip(earlier, later, strict=False):
        if one != other:
            return f"{one} became {other}"
        if a.op == "get_attr":
            old = getattr(first.graph, str(a.target))
            new = getattr(again.graph, str(b.target))
            if not torch.allclose(old, new, rtol=0.0, atol=0.0, equal_nan=True):
                return f"the constant {old} became {new}"
    if len(later) < len(earlier):
        return f"{len(earlier)} operations became {len(later)}"
    held = zip(first.held, again.held, strict=False)
    if len(first.held) != len(again.held) or any(a is not b for a, b in held):
        return "tensors that it takes from outside became others"
    return None


def _operations(graph: GraphModule) -> list[tuple[Node, str]]:
    return [
        (
            node,
            f"{getattr(node.target, '__name__', node.target)}{node.args}{node.kwargs}",
        )
        for node in graph.graph.nodes
        if node.op not in ("placeholder", "output")
    ]


@contextmanager
def _unvalidated() -> Iterator[None]:
    """Leave out checks that look at values: there are none in a trace."""
    before = is_validation_enabled(), torch.distributions.Distribution._validate_args
    pyro.enable_validation(False)
    try:
        yield
    finally:
        pyro.enable_validation(before[0])
        torch.distributions.Distribution.set_default_validate_args(before[1])


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"
