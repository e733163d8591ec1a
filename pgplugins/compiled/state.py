"""The state of estimators while their step is a graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn

from pgplugins.compiled.tracing import Write
from pgplugins.errors import CompileError


class Unsettled(CompileError):
    """State took another shape in a trace, as it does in the first runs."""


class Place(NamedTuple):
    """A buffer, by the module that it is in and its name there."""

    module: nn.Module
    name: str

    @property
    def now(self) -> Tensor | None:
        """What is there now."""
        return self.module._buffers[self.name]


@dataclass
class Use:
    """What a trace has done with the state.

    Args:
        read: The buffers that it has looked at.
        writes: Buffers and their new values.
    """

    read: list[Place] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)


class EstimatorState:
    """All buffers of some estimators.

    Args:
        estimators: Those that take part in a step.
    """

    def __init__(self, estimators: Iterable[nn.Module]) -> None:
        """Note whose they are."""
        self._modules = [m for estimator in estimators for m in estimator.modules()]

    @property
    def tensors(self) -> list[Tensor]:
        """The buffers that there are."""
        return [
            buffer
            for module in self._modules
            for buffer in module._buffers.values()
            if buffer is not None
        ]

    @contextmanager
    def used(self) -> Iterator[Use]:
        """Take down what a trace does with the state, and leave it as it was.

        Raises:
            Unsettled: A buffer came, went, or took another shape.
        """
        before = {module: module._buffers for module in self._modules}
        watched = {m: _Watched(buffers) for m, buffers in before.items()}
        use = Use()
        try:
            for module, buffers in watched.items():
                module._buffers = buffers
            yield use
        finally:
            for module, old in before.items():
                module._buffers = old
        for module, buffers in watched.items():
            use.read += [Place(module, name) for name in buffers.read]
            use.writes += _writes(before[module], buffers)


class _Watched(dict[str, Tensor | None]):
    """Buffers that know which of them were looked at."""

    def __init__(self, buffers: dict[str, Tensor | None]) -> None:
        super().__init__(buffers)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)


def _writes(
    before: dict[str, Tensor | None], after: dict[str, Tensor | None]
) -> Iterator[Write]:
    for name, new in after.items():
        old = before.get(name)
        if old is new:
            continue
        if old is None or new is None or old.shape != new.shape:
            raise Unsettled("The state of an estimator has not taken its shape yet.")
        yield old, new
