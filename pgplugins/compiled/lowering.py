"""From a traced step to code: functional operations, one source of noise, a compiler."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.graph import CodeGen

from pgplugins.compiled.tracing import Traced
from pgplugins.errors import CompileWarning

Code = Callable[[list[Tensor]], Sequence[Tensor]]
aten = torch.ops.aten


class Lowered:
    """A traced step as one function of a list of tensors.

    The list is the seeds of this run, the held tensors, and the arguments, in this
    order; it is emptied. Tensors that are written to have their new values afterwards.

    Args:
        code: The function.
        seeds: How many seeds a run takes; shape of the first tensor.
    """

    def __init__(self, code: Code, seeds: int) -> None:
        """Keep the function."""
        self.code = code
        self.seeds = seeds


def lower(
    traced: Traced, arguments: Sequence[Tensor], *, keep_if_not_finite: bool
) -> Lowered:
    """Compile a traced step.

    Args:
        traced: The step.
        arguments: Tensors of the shapes that the step was traced for.
        keep_if_not_finite: Write nothing if the first output is not finite.
    """
    graph = _functional(traced, arguments, keep_if_not_finite=keep_if_not_finite)
    seeds = _seed(graph)
    return Lowered(_compile(graph), seeds)


def _functional(
    traced: Traced, arguments: Sequence[Tensor], *, keep_if_not_finite: bool
) -> GraphModule:
    """Rewrite a trace in the compiler's basic operations, writes at the end."""
    from torch._inductor.decomposition import select_decomp_table

    held = len(traced.held)
    outputs, written = traced.outputs, traced.written

    def step(seeds: Tensor, *inputs: Tensor) -> list[Tensor]:
        values = traced.graph(*inputs)
        new = values[outputs : outputs + len(written)]
        lessons = values[outputs + len(written) :]
        finite = values[0].isfinite().all() if keep_if_not_finite else None
        for index, value in zip(written, new, strict=True):
            old = inputs[index]
            value = value.to(old.dtype)
            old.copy_(value if finite is None else torch.where(finite, value, old))
        return [*values[:outputs], *lessons]

    table = {**select_decomp_table(), **_NOISE}
    flat = make_fx(
        torch.func.functionalize(step),
        decomposition_table=table,
        tracing_mode="fake",
        _allow_non_fake_inputs=True,
    )
    seeds = torch.zeros(1, dtype=torch.int64)
    inputs = [tensor.detach() for tensor in (*traced.held, *arguments)]
    assert len(inputs) == held + len(arguments)
    with torch.no_grad():
        graph = flat(seeds, *inputs)
    graph.graph.set_codegen(CodeGen())
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _normal(
    self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None
) -> Tensor:
    noise = torch.randn(self.shape, dtype=self.dtype, device=self.device)
    return noise * std + mean


_NOISE: dict[Any, Callable[..., Tensor]] = {aten.normal_functional.default: _normal}


def _seed(graph: GraphModule) -> int:
    """Let all noise that the compiler can make come from seeds that are passed in."""
    from torch._inductor import inductor_prims as prims

    nodes = graph.graph
    seeds = next(iter(nodes.nodes))
    count = 0
    for node in list(nodes.nodes):
        if node.target not in (aten.randn.default, aten.rand.default):
            continue
        like = node.meta["val"]
        mode = "randn" if node.target is aten.randn.default else "rand"
        with nodes.inserting_before(node):
            seed = nodes.call_function(prims.lookup_seed, (seeds, count))
            noise = nodes.call_function(prims.random, (list(like.shape), seed, mode))
            with like.fake_mode:
                seed.meta["val"] = torch.empty((), dtype=torch.int64, device=like.device)
                noise.meta["val"] = like.to(torch.float32)
            if like.dtype != torch.float32:
                convert = torch.ops.prims.convert_element_type.default
                noise = nodes.call_function(convert, (noise, like.dtype))
                noise.meta["val"] = like
        node.replace_all_uses_with(noise)
        nodes.erase_node(node)
        count += 1
    if count > 1:
        with seeds.meta["val"].fake_mode:
            seeds.meta["val"] = torch.empty(count, dtype=torch.int64)
    graph.recompile()
    return count


def _compile(graph: GraphModule) -> Code:
    """Hand a graph to Inductor; run it as it is where there is no C++ compiler."""
    from torch._guards import TracingContext, tracing
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.exc import InvalidCxxCompiler
    from torch._inductor.fx_passes.joint_graph import joint_graph_passes

    inputs = [n.meta["val"] for n in graph.graph.nodes if n.op == "placeholder"]
    settings = {"size_asserts": False, "alignment_asserts": False}
    try:
        with (
            tracing(TracingContext(inputs[0].fake_mode)),
            config.patch({k: v for k, v in settings.items() if hasattr(config, k)}),
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

