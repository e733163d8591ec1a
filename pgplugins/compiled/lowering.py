"""From a traced step to code: functional operations, noise as an input, a compiler."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.graph import CodeGen

from pgplugins.compiled.alike import Plan, plan
from pgplugins.compiled.formulas import FORMULAS, write_likelihoods
from pgplugins.compiled.noise import IN_TERMS_OF_NOISE, Noise, take_noise
from pgplugins.compiled.scratch import Scratch, scratch_of
from pgplugins.compiled.side_by_side import run
from pgplugins.compiled.tidying import (
    draws,
    looks_at_memory,
    once,
    tidy,
    write_elsewhere,
    writes,
)
from pgplugins.compiled.tracing import Traced
from pgplugins.errors import CompileWarning

_LEAST_GAIN = 4  # operations for one: stacks are made, which takes time as well

Code = Callable[[list[Tensor]], Sequence[Tensor]]


class Lowered(NamedTuple):
    """A traced step as one function of a list of tensors.

    The list is the noise of this run, room for the first output, a flag, the held
    tensors and the arguments, in this order; it is emptied. The room and the tensors
    that are written to have their values afterwards; the other outputs are returned.
    The flag falls at the first output that is not finite, and nothing is written from
    then on.

    Args:
        code: The function.
        noise: What noise a run takes.
        first: The first output's type and place.
        scratch: The memory that the code works in, if it can be kept. What the code
            returns lies there.
        draws: The code takes noise from torch's generator itself as well.
    """

    code: Code
    noise: list[Noise]
    first: Tensor
    scratch: Scratch | None
    draws: bool


def lower(
    traced: Traced, arguments: Sequence[Tensor], *, keep_if_not_finite: bool
) -> Lowered:
    """Compile a traced step.

    Args:
        traced: The step.
        arguments: Tensors of the shapes that the step was traced for.
        keep_if_not_finite: Write nothing if the first output is not finite.
    """
    found = next(n for n in traced.graph.graph.nodes if n.op == "output").args[0][0]
    like = found.meta["val"]
    first = torch.zeros(like.shape, dtype=like.dtype, device=like.device)
    going = torch.ones((), dtype=torch.bool, device=like.device)
    inputs = [first, going, *(t.detach() for t in (*traced.held, *arguments))]
    graph = _functional(traced, inputs, keep_if_not_finite=keep_if_not_finite)
    noise = take_noise(graph)
    drawn = any(map(draws, graph.graph.nodes))
    code = _compile(graph)
    return Lowered(code, noise, first, scratch_of(code), drawn)


def _functional(
    traced: Traced, inputs: Sequence[Tensor], *, keep_if_not_finite: bool
) -> GraphModule:
    """Rewrite a trace, operations that are alike side by side if many are."""
    graph = traced.graph
    planned = _plan(graph)
    if planned is not None:
        try:
            return _rewritten(
                traced,
                lambda given: run(graph, planned, given),
                inputs,
                keep_if_not_finite=keep_if_not_finite,
            )
        except (RuntimeError, ValueError):
            # What a stack cannot do the operations can. An error of their own comes
            # again below.
            pass
    return _rewritten(
        traced,
        lambda given: graph(*given),
        inputs,
        keep_if_not_finite=keep_if_not_finite,
    )


def _plan(graph: GraphModule) -> Plan | None:
    """Make a graph short; return what to do side by side, if that is most of it."""
    write_likelihoods(graph.graph)
    write_elsewhere(graph)
    writing = any(map(writes, graph.graph.nodes))
    if not writing:
        tidy(graph)
    graph.recompile()
    if writing or any(map(looks_at_memory, graph.graph.nodes)):
        return None
    found = plan(graph.graph)
    return found if len(found.units) * _LEAST_GAIN <= found.nodes else None


def _rewritten(
    traced: Traced,
    values_of: Callable[[Sequence[Tensor]], Sequence[Tensor]],
    inputs: Sequence[Tensor],
    *,
    keep_if_not_finite: bool,
) -> GraphModule:
    """Rewrite a trace in the compiler's basic operations, writes at the end."""
    from torch._inductor.decomposition import select_decomp_table

    outputs, written = traced.outputs, traced.written

    def step(first: Tensor, going: Tensor, *inputs: Tensor) -> list[Tensor]:
        values = values_of(inputs)
        new = values[outputs : outputs + len(written)]
        lessons = values[outputs + len(written) :]
        finite = None
        if keep_if_not_finite:
            finite = going & values[0].isfinite().all()
            going.copy_(finite)
        for index, value in zip(written, new, strict=True):
            old = inputs[index]
            value = value.to(old.dtype)
            old.copy_(value if finite is None else torch.where(finite, value, old))
        first.copy_(values[0])
        return [*values[1:outputs], *lessons]

    table = {**select_decomp_table(), **FORMULAS, **IN_TERMS_OF_NOISE}
    flat = make_fx(
        torch.func.functionalize(step),
        decomposition_table=table,
        tracing_mode="fake",
        _allow_non_fake_inputs=True,
    )
    with torch.no_grad():
        graph = flat(*inputs)
    graph.graph.set_codegen(CodeGen())
    graph.graph.eliminate_dead_code()
    once(graph)
    _value_last(graph)
    graph.recompile()
    return graph


def _value_last(graph: GraphModule) -> None:
    """Put what only the first output needs behind what everything else needs.

    The compiler merges a sum with an earlier loop over the same elements, but not with
    a later one. A likelihood's gradient, element by element, and the sum of its values
    are then one loop, which computes what they share once.
    """
    nodes = list(graph.graph.nodes)
    first, going = [n for n in nodes if n.op == "placeholder"][:2]
    copies = [n for n in nodes if n.target is torch.ops.aten.copy_.default]
    # Whether to write may depend on the value; what is written does not.
    verdict = {n.args[1] for n in copies if n.args[0] is going}
    verdict |= {n.args[1] for n in verdict if n.target is torch.ops.aten.copy.default}
    needed = {n for n in copies if n.args[0] not in (first, going)}
    needed.add(graph.graph.output_node())
    for node in reversed(nodes):
        if node in needed:
            needed.update(n for n in node.all_input_nodes if n not in verdict)
    end = graph.graph.output_node()
    moved: set[Node] = set()
    for node in nodes:
        if node is end or node.op == "placeholder" or node in copies:
            continue
        if node not in needed or not moved.isdisjoint(node.all_input_nodes):
            moved.add(node)
            end.prepend(node)
    for node in copies:  # whatever reads an input comes before
        end.prepend(node)


def _compile(graph: GraphModule) -> Code:
    """Hand a graph to Inductor; run it as it is where there is no C++ compiler."""
    from torch._guards import TracingContext, detect_fake_mode, tracing
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.exc import InvalidCxxCompiler
    from torch._inductor.fx_passes.joint_graph import joint_graph_passes

    inputs = [n.meta["val"] for n in graph.graph.nodes if n.op == "placeholder"]
    mode = detect_fake_mode(inputs)
    # What a call brings has been compared with what the graph was made for.
    settings = {
        "size_asserts": False,
        "alignment_asserts": False,
        "cpp.enable_floating_point_contract_flag": "fast",
    }
    try:
        with (
            tracing(TracingContext(mode)),
            config.patch(settings),
            torch.no_grad(),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            joint_graph_passes(graph)
            compiled = compile_fx_inner(graph, inputs)
    except Exception as error:
        if not _is_missing_compiler(error, InvalidCxxCompiler):
            raise
        warnings.warn(
            "No C++ compiler was found, so compiled steps run their traced graphs as "
            "they are: right, but slow. Install g++ or clang++, or set CXX.",
            CompileWarning,
            stacklevel=2,
        )
        return _interpreted(graph)
    code: Code = getattr(compiled, "current_callable", None) or compiled
    return code


def _is_missing_compiler(error: BaseException | None, kind: type[Exception]) -> bool:
    while error is not None:
        if isinstance(error, kind) or isinstance(
            getattr(error, "inner_exception", None), kind
        ):
            return True
        error = error.__cause__
    return False


def _interpreted(graph: GraphModule) -> Code:
    def run(inputs: list[Tensor]) -> Sequence[Tensor]:
        found: Sequence[Tensor] = graph(*inputs)
        inputs.clear()
        return found

    return run
