"""What a Pyro program needs where several processes run it for one estimate."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import pyro
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from pgplugins.distributed.gradients import summed
from pgplugins.distributed.seeds import seeded
from pgplugins.distributed.shared import SharedPool
from pgplugins.errors import ProgramError


class CommonSubsamples(Messenger):
    """Draws the subsamples of plates alike on all ranks.

    Particles side by side see one subsample, wherever they run.

    Args:
        seed: What all ranks have in common.
    """

    def __init__(self, seed: int) -> None:
        """Keep the seed."""
        super().__init__()
        self._seed = seed

    def _pyro_sample(self, msg: Any) -> None:
        if msg["value"] is None and site_is_subsample(msg):
            with seeded(self._seed, msg["name"]):
                msg["value"] = msg["fn"](*msg["args"], **msg["kwargs"])


class SharedGradients(Messenger):
    """Adds up over ranks the gradients that come to Pyro's parameters meanwhile.

    Those from before are kept, and not added up again. All parameters that any rank has
    met end up met on this one, so that an optimizer that steps what was met steps the
    same parameters everywhere.

    Args:
        pool: The ranks.
        checks: Looks for parameters that differ between ranks.
    """

    def __init__(self, pool: SharedPool, checks: Checks) -> None:
        """Wait for the first parameter."""
        super().__init__()
        self._pool = pool
        self._checks = checks
        self._met: dict[str, Tensor] = {}
        self._before: list[tuple[Tensor, Tensor | None]] = []

    def _pyro_post_param(self, msg: Any) -> None:
        if msg["name"] not in self._met and isinstance(msg["value"], Tensor):
            self._meet(msg["name"], msg["value"])

    def _meet(self, name: str, value: Any) -> None:
        parameter: Tensor = value.unconstrained()
        self._met[name] = parameter
        if all(parameter is not known for known, _ in self._before):
            self._before.append((parameter, parameter.grad))
            parameter.grad = None

    def __exit__(self, *exception: Any) -> Any:
        """Add up, unless something has failed."""
        handled = super().__exit__(*exception)
        try:
            if exception[0] is None:
                self._add_up()
        finally:
            for parameter, before in self._before:
                if parameter.grad is None:
                    parameter.grad = before
                elif before is not None:
                    parameter.grad = before + parameter.grad
        return handled

    def _add_up(self) -> None:
        names = self._pool.union(sorted(self._met), "the parameters that were met")
        for name in names:
            if name not in self._met:
                self._meet(name, _known_parameter(name))
        parameters = [self._met[name] for name in names]
        self._checks.look(
            "Parameter", dict(zip(names, parameters, strict=True)), self._pool
        )
        totals = summed([p.grad for p in parameters], parameters, self._pool)
        for parameter, total in zip(parameters, totals, strict=True):
            parameter.grad = total


def _known_parameter(name: str) -> Any:
    if name not in pyro.get_param_store():
        raise ProgramError(
            f"Another rank has met parameter {name!r}, which does not exist here: a "
            "program that makes it only where its draws lead there makes it at another "
            "step on every rank. Write pyro.param(...) before the branch."
        )
    return pyro.param(name)


class Primed:
    """Which programs have been run once, with what they make on their first run."""

    def __init__(self) -> None:
        """Start with none."""
        self._programs: set[Hashable] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle without programs."""
        return Primed, ()

    def once(self, programs: Hashable, prime: Callable[[], None]) -> None:
        """Call ``prime`` unless the programs are known."""
        if programs not in self._programs:
            prime()
            self._programs.add(programs)


class Checks:
    """Looks for what should be alike on all ranks and is not, a little at every call.

    Whatever is new is looked at, and of what is known one after another.
    """

    def __init__(self) -> None:
        """Start without anything known."""
        self._known: dict[str, set[str]] = {}
        self._turn = 0

    def look(
        self, kind: str, things: Mapping[str, Tensor | nn.Module], pool: SharedPool
    ) -> None:
        """Compare some of the things with those of the other ranks.

        Raises:
            DistributedError: One differs.
        """
        known = self._known.setdefault(kind, set())
        names = sorted(set(things) - known)
        known.update(names)
        if not names and things:
            everything = sorted(things)
            names = [everything[self._turn % len(everything)]]
            self._turn += 1
        pool.require_alike({name: _tensors(things[name]) for name in names}, kind)


def _tensors(thing: Tensor | nn.Module) -> Sequence[Tensor]:
    if isinstance(thing, Tensor):
        return [thing]
    return [t for t in thing.state_dict().values() if isinstance(t, Tensor)]
