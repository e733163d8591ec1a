"""A step of inference as a graph: loss, gradients, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.infer import SVI
from torch import Tensor

from pgplugins.compiled.origins import Marking, Origins
from pgplugins.compiled.rehearsal import Rehearsal
from pgplugins.compiled.signature import Call
from pgplugins.compiled.state import EstimatorState, Use
from pgplugins.compiled.tracing import Result, Traced, trace
from pgplugins.compiled.updates import Updates
from pgplugins.infer.elbo import ELBO
from pgplugins.infer.noted import noting_again


class Job:
    """The tracing of one step of inference.

    Args:
        svi: Whose step it is, with ``elbo`` as its objective.
        elbo: The objective.
        call: What model and guide are called with.
        shown: What the rehearsal has found.
        trained: The parameters that have a gradient.
    """

    def __init__(
        self,
        svi: SVI,
        elbo: ELBO,
        call: Call,
        shown: Rehearsal,
        trained: Sequence[Tensor],
    ) -> None:
        """Get ready to trace, as often as is asked for."""
        self._svi, self._elbo, self._call = svi, elbo, call
        self._notes, self._trained = shown.notes, trained
        self._state = EstimatorState(shown.estimators)

    def trace(self, updates: Updates | None) -> tuple[Traced, Use, Origins]:
        """Trace loss and gradients, and what the optimizer makes of them."""
        elbo, svi = self._elbo, self._svi
        origins = Origins(self._state.tensors)
        uses: list[Use] = []

        def step(*tensors: Tensor) -> Result:
            args, kwargs = self._call.arguments(list(tensors))
            with self._state.used() as use, Marking(origins):
                loss = elbo.first_order_loss(svi.model, svi.guide, *args, **kwargs)
                gradients = torch.autograd.grad(loss, list(self._trained))
            uses.append(use)
            if updates is None:
                return Result([loss, *gradients], use.writes)
            with torch.no_grad():
                return Result([loss], [*use.writes, *updates.writes(gradients)])

        with noting_again(self._notes):
            # A tensor that is passed twice is two arguments.
            arguments = [tensor.detach() for tensor in self._call.tensors]
            traced = trace(step, arguments, origins)
        return traced, uses[0], origins
