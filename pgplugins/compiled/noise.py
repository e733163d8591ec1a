"""Noise as an input of the graph: drawn before a run, for many runs at once.

The compiler could make noise inside its code, but draws it one by one; torch draws
thousands in the time, and its generator is the one that seeds are set for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

aten = torch.ops.aten
_BLOCK = (
    16  # torch draws normals by so many; rows of whole blocks can be split anywhere
)


class Noise(NamedTuple):
    """Noise that one run takes.

    Args:
        size: How many numbers, whole blocks of them.
        dtype: Their precision.
        normal: Standard normal; else uniform in [0, 1).
    """

    size: int
    dtype: torch.dtype
    normal: bool

    def new(self, *rows: int) -> Tensor:
        """Make room for the noise of some runs, shape ``(*rows, size)``."""
        return torch.empty(*rows, self.size, dtype=self.dtype)

    def draw(self, room: Tensor) -> Tensor:
        """Fill the room from torch's generator.

        Runs one by one get the same as many at once, so that it makes no difference
        where a series of steps is interrupted.

        Example:
            >>> noise = Noise(32, torch.float32, normal=True)
            >>> _ = torch.manual_seed(0)
            >>> once = noise.draw(noise.new(2))
            >>> _ = torch.manual_seed(0)
            >>> twice = [noise.draw(noise.new()) for _ in range(2)]
            >>> torch.equal(once, torch.stack(twice))
            True
        """
        return room.normal_() if self.normal else room.uniform_()


def take_noise(graph: GraphModule) -> list[Noise]:
    """Replace what draws in a graph by inputs, which come before all others.

    Only on the CPU: elsewhere the compiler's own noise is the faster one.
    """
    found: dict[tuple[torch.dtype, bool], list[Node]] = {}
    for node in graph.graph.nodes:
        normal = node.target is aten.randn.default
        if not (normal or node.target is aten.rand.default):
            continue
        like = node.meta["val"]
        if like.device.type == "cpu" and like.numel() > 0:
            found.setdefault((like.dtype, normal), []).append(node)
    noise = [
        Noise(_whole_blocks(sum(n.meta["val"].numel() for n in nodes)), *kind)
        for kind, nodes in found.items()
    ]
    first = next(iter(graph.graph.nodes))
    for index, (one, nodes) in enumerate(zip(noise, found.values(), strict=True)):
        with graph.graph.inserting_before(first):
            drawn = graph.graph.placeholder(f"noise_{index}")
        mode = nodes[0].meta["val"].fake_mode
        with mode:
            drawn.meta["val"] = one.new()
        start = 0
        for node in nodes:
            like = node.meta["val"]
            end = start + like.numel()
            with graph.graph.inserting_before(node):
                part = graph.graph.call_function(
                    aten.slice.Tensor, (drawn, 0, start, end)
                )
                shaped = graph.graph.call_function(
                    aten.reshape.default, (part, list(like.shape))
                )
            with mode:
                part.meta["val"] = drawn.meta["val"][start:end]
                shaped.meta["val"] = part.meta["val"].reshape(like.shape)
            node.replace_all_uses_with(shaped)
            graph.graph.erase_node(node)
            start = end
    graph.recompile()
    return noise


def _whole_blocks(count: int) -> int:
    return -(-count // _BLOCK) * _BLOCK


def _normal(
    self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None
) -> Tensor:
    noise = torch.randn(self.shape, dtype=self.dtype, device=self.device)
    return noise * std + mean


def _normal_at(mean: Tensor, std: Tensor, *, generator: Any = None) -> Tensor:
    shape = torch.broadcast_shapes(mean.shape, std.shape)
    noise = torch.randn(shape, dtype=mean.dtype, device=mean.device)
    return noise * std + mean


def _uniform(
    self: Tensor, low: float = 0.0, high: float = 1.0, *, generator: Any = None
) -> Tensor:
    noise = torch.rand(self.shape, dtype=self.dtype, device=self.device)
    return noise * (high - low) + low


def _exponential(self: Tensor, lambd: float = 1.0, *, generator: Any = None) -> Tensor:
    noise = torch.rand(self.shape, dtype=self.dtype, device=self.device)
    return -torch.log1p(-noise) / lambd


def _bernoulli(self: Tensor, *, generator: Any = None) -> Tensor:
    noise = torch.rand(self.shape, dtype=self.dtype, device=self.device)
    return (noise < self).to(self.dtype)


IN_TERMS_OF_NOISE: dict[Any, Callable[..., Tensor]] = {
    aten.normal_functional.default: _normal,
    aten.normal.Tensor_Tensor: _normal_at,
    aten.uniform.default: _uniform,
    aten.exponential.default: _exponential,
    aten.bernoulli.default: _bernoulli,
}
"""Draws that torch makes in place, as functions of standard noise."""
