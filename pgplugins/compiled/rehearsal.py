"""A run that shows what a step does, and leaves everything as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pgplugins.core.circumstances import ChoosesRows
from pgplugins.core.estimator import Estimator
from pgplugins.core.learning import rehearsing
from pgplugins.errors import CompileError
from pgplugins.infer.noted import Notes, noting


@dataclass
class Rehearsal:
    """What a run has shown.

    Args:
        notes: The dependencies that it has found.
        met: The estimators that took part, by identity.
    """

    notes: Notes
    met: dict[int, Estimator]

    @property
    def estimators(self) -> list[Estimator]:
        """The estimators that took part.

        Raises:
            CompileError: One chooses among others, by values and at every call.
        """
        for estimator in self.met.values():
            if isinstance(estimator, ChoosesRows):
                where = "" if estimator.site is None else f" at site {estimator.site!r}"
                raise CompileError(
                    f'Estimator "{estimator.name}"{where} decides by values at every '
                    "call, which one graph cannot hold. Let plain steps find out, and "
                    "then compile with the estimator that it has chosen: write the "
                    "name that .choice shows (elbo.estimator_of(...).choice)."
                )
        return list(self.met.values())


@contextmanager
def rehearsal() -> Iterator[Rehearsal]:
    """Run something without consequences.

    Nobody learns, what is written to is written back, and the generators go back to
    where they were. Parameters that are met for the first time stay; they have been
    started at random then, so that the noise that follows has to be other noise.
    """
    known = set(pyro.get_param_store().keys())
    in_use = torch.cuda.is_available() and torch.cuda.is_initialized()
    states = torch.get_rng_state(), torch.cuda.get_rng_state_all() if in_use else []
    with noting() as notes, rehearsing() as met:
        writes = _Writes()
        try:
            with writes:
                yield Rehearsal(notes, met)
        finally:
            writes.undo()
            if known.issuperset(pyro.get_param_store().keys()):
                torch.set_rng_state(states[0])
                if in_use:
                    torch.cuda.set_rng_state_all(states[1])


class _Writes(TorchDispatchMode):
    """Keeps copies of tensors that were there before and are written to.

    Batch normalisation writes to its averages, and its schemas do not say so.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._made: set[int] = set()
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        writes = func._schema.is_mutable or "batch_norm" in func.name()
        if writes:
            for value in tree_leaves((args, kwargs)):
                if isinstance(value, Tensor) and _memory(value) not in self._made:
                    self._before.setdefault(id(value), (value, value.detach().clone()))
        result = func(*args, **(kwargs or {}))
        if not (func.is_view or func._schema.is_mutable):
            for value in tree_leaves(result):
                if isinstance(value, Tensor):
                    self._made.add(_memory(value))
        return result

    def undo(self) -> None:
        with torch.no_grad():
            for value, before in self._before.values():
                value.copy_(before)


def _memory(value: Tensor) -> int:
    address: int = value.untyped_storage()._cdata
    return address
