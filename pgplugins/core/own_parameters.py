"""A distribution on parameters of its own: what per-row gradients are taken for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.graph import reaches
from pgplugins.core.parameters import parameters_of, with_parameters
from pgplugins.core.path import rsample
from pgplugins.core.scores import closed_form_score
from pgplugins.errors import EstimatorError

# From all gradients of one element's parameters, side by side, and its weight in the
# loss, to the gradients that are passed on.
Correction = Callable[[Tensor, Tensor], Tensor]


@dataclass
class OwnParameters:
    """Every batch element's own parameters: all uses by the site pass through them.

    Args:
        values: Those that are differentiated for, by name; shape ``(*batch_shape,
            *parameter_event_shape)``.
        probe: Zero, shape ``batch_shape``. Added to the loss it finds out the weight
            that every element has there.
    """

    values: dict[str, Tensor]
    probe: Tensor
    _node: _Node

    def correct(self, correction: Correction) -> None:
        """Have ``backward`` pass on what ``correction`` makes of the gradients.

        The gradients have shape ``(*batch_shape, P)``, the weights ``batch_shape``.
        """
        self._node.correction = correction

    def reach(self, output: Tensor) -> bool:
        """Whether a gradient of ``output`` comes back to these."""
        return reaches(output, [self.probe])

    @property
    def flat(self) -> Tensor:
        """All values side by side, shape ``(*batch_shape, P)``."""
        return _join(list(self.values.values()), self.probe.dim())

    def gradient(self, output: Tensor) -> Tensor:
        """Gradient of every element's own output, shape ``(*batch_shape, P)``."""
        values = list(self.values.values())
        if not output.requires_grad:
            return _join([torch.zeros_like(v) for v in values], self.probe.dim())
        parts = torch.autograd.grad(
            output.sum(), values, retain_graph=True, materialize_grads=True
        )
        return _join(parts, self.probe.dim())

    def pulled_back(self, output: Tensor, slope: Tensor) -> Tensor:
        """Gradient along the path of ``output``, shape ``(*batch_shape, P)``."""
        parts = torch.autograd.grad(
            output,
            list(self.values.values()),
            slope,
            retain_graph=True,
            materialize_grads=True,
        )
        return _join(parts, self.probe.dim())

    def score(self, draw: Draw) -> Tensor:
        """Return the score of the drawn value, shape ``(*batch_shape, P)``."""
        if draw.held_dist is not None:
            closed = closed_form_score(draw.held_dist, draw.row.detach())
            if closed is not None:
                return _join([closed[name] for name in self.values], self.probe.dim())
        return self.gradient(draw.log_prob)


class OwnLaw(NamedTuple):
    """A distribution in two guises, and the parameters of the first.

    Args:
        law: Rebuilt on ``own``.
        held: Rebuilt on detached parameters.
        own: ``None`` if no parameter is differentiated for.
    """

    law: Distribution
    held: Distribution
    own: OwnParameters | None


def own_law(dist: Distribution) -> OwnLaw:
    """Rebuild ``dist`` on a copy of its parameters for every batch element.

    Raises:
        EstimatorError: The distribution does not show its parameters, or cannot be
            rebuilt from them.

    Example:
        >>> loc = torch.tensor(0.5, requires_grad=True)
        >>> found = own_law(torch.distributions.Normal(loc.expand(3), 1.0))
        >>> list(found.own.values), tuple(found.own.flat.shape)
        (['loc'], (3, 1))
    """
    values = parameters_of(dist)
    varied = {k: v for k, v in values.items() if v.requires_grad}
    held = with_parameters(dist, {k: v.detach() for k, v in values.items()})
    if not varied:
        return OwnLaw(held, held, None)
    node = _Node()
    *own, probe = _Own.apply(  # type: ignore[no-untyped-call]
        node, len(dist.batch_shape), *varied.values()
    )
    named = dict(zip(varied, own, strict=True))
    law = with_parameters(dist, {**values, **named})
    return OwnLaw(law, held, OwnParameters(named, probe, node))


def draw_on_own(dist: Distribution) -> Draw:
    """Draw one row along its path, from :func:`own_law`; ``extra`` holds its own.

    Raises:
        EstimatorError: As :func:`own_law`; :func:`hides_parameters` says so before.
    """
    law, held, own = own_law(dist)
    return Draw.of_row(law, rsample(law), extra=own, held_dist=held)


def hides_parameters(dist: Distribution) -> str | None:
    """Say why ``dist`` cannot be rebuilt on its parameters; ``None`` if it can.

    Example:
        >>> hides_parameters(torch.distributions.Normal(0.0, 1.0))
    """
    try:
        with_parameters(dist, parameters_of(dist))
    except EstimatorError as error:
        return str(error)
    return None


@contextmanager
def without_corrections() -> Iterator[None]:
    """Leave the gradients of a pass as they are, and learn nothing from them.

    For a pass through derivatives of a cost, which are no path gradients of a cost.
    """
    _Node.paused = True
    try:
        yield
    finally:
        _Node.paused = False


class _Node:
    """What a pass through :class:`_Own` does on its way back."""

    correction: Correction | None = None
    # Of the class: a backward pass on another device runs in another thread.
    paused: ClassVar[bool] = False


class _Own(torch.autograd.Function):
    """The identity, and a zero; all their gradients come back together."""

    @staticmethod
    def forward(ctx: Any, node: _Node, batch: int, *values: Tensor) -> Any:
        ctx.node, ctx.batch = node, batch
        probe = values[0].new_zeros(values[0].shape[:batch])
        return *values, probe

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        *own, weight = gradients
        correction = ctx.node.correction
        if correction is None or _Node.paused:
            return None, None, *own
        passed = correction(_join(own, ctx.batch), weight)
        sizes = [g.shape[ctx.batch :].numel() for g in own]
        parts = passed.split_with_sizes(sizes, -1)
        return (
            None,
            None,
            *(part.reshape(g.shape) for part, g in zip(parts, own, strict=True)),
        )


def _join(values: Sequence[Tensor], batch: int) -> Tensor:
    flat = [
        v if v.dim() == batch + 1 else v.reshape(*v.shape[:batch], -1) for v in values
    ]
    return flat[0] if len(flat) == 1 else torch.cat(flat, -1)
