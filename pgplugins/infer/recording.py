"""Handlers that keep a run's messages, and replay a guide's values in its model.

What ``poutine.trace`` and ``poutine.replay`` do, in one handler and without copies: a
program of many small sites spends a good part of its time in handlers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyro.poutine.messenger import Messenger
from pyro.poutine.trace_struct import Trace

from pgplugins.core.provenance import Sources
from pgplugins.errors import ProgramError
from pgplugins.infer.dependencies import Dependencies


class Recording(Messenger):
    """Keeps the messages of all sites by name, and what reached each when it ran.

    Args:
        dependencies: How this run finds what is downstream of what.
    """

    def __init__(self, dependencies: Dependencies) -> None:
        """Start a run."""
        super().__init__()
        self.dependencies = dependencies
        self.messages: dict[str, Any] = {}
        self.reached: dict[str, Sources] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        name = msg["name"]
        self.reached[name] = self.dependencies.upstream_now()
        if self.messages.setdefault(name, msg) is not msg:
            self._meet_again(msg)

    def _pyro_post_param(self, msg: Any) -> None:
        if self.messages.setdefault(msg["name"], msg)["type"] != "param":
            self._meet_again(msg)

    def _meet_again(self, msg: Any) -> None:
        name, kind = msg["name"], msg["type"]
        earlier = self.messages[name]["type"]
        what = (
            f"Multiple {kind} sites named {name!r}"
            if kind == earlier
            else f"{name!r} is a {earlier} site already, and a {kind} site now"
        )
        raise ProgramError(f"{what}. Give every site a name of its own.")

    def trace(self) -> Trace:
        """Return the messages as a trace, for Pyro's own checks."""
        trace = Trace()
        for name, msg in self.messages.items():
            trace.add_node(name, **msg)
        return trace


class Replayed(Recording):
    """Runs a model with the values that its guide drew.

    Args:
        drawn: The guide's messages.
        dependencies: How this run finds what is downstream of what.
    """

    def __init__(self, drawn: Mapping[str, Any], dependencies: Dependencies) -> None:
        """Start a run."""
        super().__init__(dependencies)
        self._drawn = drawn

    def _pyro_sample(self, msg: Any) -> None:
        drawn = self._drawn.get(msg["name"])
        if drawn is None or msg["is_observed"]:
            return
        if drawn["type"] != "sample" or drawn["is_observed"]:
            raise ProgramError(
                f"The model draws at site {msg['name']!r}, which the guide does not "
                "draw but observe or declare as a parameter."
            )
        msg["done"] = True
        msg["value"] = drawn["value"]
        msg["infer"] = drawn["infer"]
