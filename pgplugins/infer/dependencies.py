"""Which sites a cost depends on: found by tracking, from plates or from order.

A policy answers two questions for the messenger that runs a program: what a site's
parameters depend on, and what a cost depends on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.provenance import plain, sources_of_value, track
from pgplugins.core.state import sources_of_state
from pgplugins.core.tracker import Sources, Tracker
from pgplugins.errors import InputError

NAMES = ("provenance", "plates", "order")


class Dependencies(ABC):
    """How one run of a program finds what is downstream of what."""

    def __init__(self) -> None:
        """Start a run."""
        self.names: list[str] = []

    def _new_bit(self, name: str) -> Sources:
        self.names.append(name)
        return 1 << (len(self.names) - 1)

    def draw(self, dist: Distribution, draw: Callable[[], Any]) -> tuple[Any, Sources]:
        """Run ``draw``; also return what the distribution's parameters depend on."""
        return draw(), self.upstream_now()

    @abstractmethod
    def upstream_now(self) -> Sources:
        """Sites that whatever runs now depends on, values aside."""

    def source(self, name: str, *, many_rows: bool) -> Sources:
        """Add a site that has just been drawn; returns the set that holds it alone."""
        return self._new_bit(name)

    def mark(self, value: Tensor, sources: Sources) -> Tensor:
        """Return the value that the program gets to see."""
        return value

    def cost(
        self, compute: Callable[[], Tensor], *inputs: object
    ) -> tuple[Tensor, Sources]:
        """Compute a cost; also return what its inputs show that it depends on.

        What :meth:`upstream_now` returned when the cost's site ran is the caller's to
        add.
        """
        return compute(), 0

    def everything(self) -> None:  # noqa: B027
        """Note that what runs from now on may depend on every site so far."""

    @property
    def branches(self) -> bool:
        """Whether the program was seen to turn a draw into a Python value."""
        return False

    @property
    def in_python(self) -> Sources:
        """Sites whose values may have turned into Python values; all if none looked."""
        return -1

    def close(self) -> None:  # noqa: B027
        """End the run."""


class Order(Dependencies):
    """Everything that runs later is downstream."""

    def upstream_now(self) -> Sources:
        """All sites so far."""
        return (1 << len(self.names)) - 1


class Plates(Dependencies):
    """Every cost is downstream of every site; only plates separate them."""

    def upstream_now(self) -> Sources:
        """All sites, also those still to come."""
        return -1


class Provenance(Dependencies):
    """Values remember their sites; what escapes reaches all that follows."""

    def __init__(self) -> None:
        """Start a run with a tracker of its own."""
        super().__init__()
        self.tracker = Tracker()

    @property
    def path(self) -> Hashable:
        """What the run shows of the way that it took through the program."""
        return tuple(self.tracker.names), self.tracker.calls

    def upstream_now(self) -> Sources:
        """Sites whose values have escaped."""
        return self.tracker.escaped

    def draw(self, dist: Distribution, draw: Callable[[], Any]) -> tuple[Any, Sources]:
        """Run ``draw``, untracked where the parameters can be looked at instead."""
        known = sources_of_state(dist)
        if known is None:
            drawn = draw()
            known = sources_of_value(drawn.value)
        else:
            self.tracker.declared = known
            with torch._C.DisableTorchFunctionSubclass():
                drawn = draw()
            self.tracker.declared = None
        return drawn, known | self.tracker.escaped

    def source(self, name: str, *, many_rows: bool) -> Sources:
        """Add a tracked site."""
        self.names.append(name)
        return self.tracker.source(name, many_rows=many_rows)

    def mark(self, value: Tensor, sources: Sources) -> Tensor:
        """Return the value with its sources."""
        return track(value, self.tracker, sources) if sources else value

    def cost(
        self, compute: Callable[[], Tensor], *inputs: object
    ) -> tuple[Tensor, Sources]:
        """Compute a cost, tracked only if its inputs cannot be looked into."""
        sources: Sources | None = 0
        for item in inputs:
            part = (
                sources_of_state(item)
                if isinstance(item, Distribution)
                else sources_of_value(item)
            )
            if part is None:
                sources = None
                break
            sources |= part  # type: ignore[operator]
        if sources is None:
            value = compute()
            return plain(value), sources_of_value(value) | self.tracker.escaped
        self.tracker.declared = sources
        with torch._C.DisableTorchFunctionSubclass():
            value = compute()
        sources, self.tracker.declared = self.tracker.declared, None
        return value, sources

    def everything(self) -> None:
        """Let every site so far escape."""
        self.tracker.escaped |= self.tracker.everything

    @property
    def branches(self) -> bool:
        """Whether a value has escaped."""
        return self.tracker.escaped != 0

    @property
    def in_python(self) -> Sources:
        """Sites whose values have escaped."""
        return self.tracker.escaped

    def close(self) -> None:
        """End the run: values that outlive it are plain."""
        self.tracker.close()


def make_dependencies(kind: str) -> Dependencies:
    """Return a policy for one run.

    Raises:
        InputError: There is no such way to find dependencies.
    """
    if kind == "provenance":
        return Provenance()
    return Order() if kind == "order" else Plates()


def check_dependencies(kind: object) -> None:
    """Raise unless ``kind`` names a way to find dependencies.

    Raises:
        InputError: Listing those that there are.
    """
    if kind not in NAMES:
        raise InputError(
            f"dependencies={kind!r}: write one of {', '.join(map(repr, NAMES))}."
        )
