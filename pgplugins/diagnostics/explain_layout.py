"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pgplugins.diagnostics.explain_parts import Gradients
from pgplugins.diagnostics.explain_result import Part
from pgplugins.diagnostics.measurement import flatten
from pgplugins.diagnostics.statistics import GradientStatistics


class Layout:
    """Where each parameter lies in a vector of all of them.

    Args:
        parameters: By name.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        """Keep the parameters."""
        self.parameters = dict(parameters)

    @property
    def tensors(self) -> list[Tensor]:
        """The parameters, in their order."""
        return list(self.parameters.values())

    def statistics(self) -> GradientStatistics:
        """Statistics that have seen no gradient."""
        return GradientStatistics(*(p.numel() for p in self.tensors))

    def zeros(self) -> Tensor:
        """A gradient of zeros."""
        return self.join([None] * len(self.parameters))

    def join(self, gradients: Gradients) -> Tensor:
        """Lay gradients end to end, zeros where there is none."""
        return flatten(
            torch.zeros_like(p) if g is None else g
            for p, g in zip(self.tensors, gradients, strict=True)
        )

    def split(self, vector: Tensor) -> dict[str, Tensor]:
        """Return the entries of each parameter, in its shape."""
        pieces = vector.split([p.numel() for p in self.tensors])
        return {
            name: piece.reshape(parameter.shape)
            for (name, parameter), piece in zip(
                self.parameters.items(), pieces, strict=True
            )
        }

    def part(self, stats: GradientStatistics) -> Part:
        """Return mean and standard error by parameter."""
        return Part(self.split(stats.mean), self.split(stats.squared_error.sqrt()))
