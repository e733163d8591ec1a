"""Which plugins are installed, and which of them are switched off."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from pgplugins.plugins.hookspecs import PROJECT


@dataclass(frozen=True)
class Candidate:
    """An entry point that could be loaded; reading it imports nothing.

    Args:
        entry_point: The entry point.
        switch: The environment variable that disables it, or ``None``.
    """

    entry_point: EntryPoint
    switch: str | None

    @property
    def name(self) -> str:
        """The entry point's name."""
        return self.entry_point.name

    @property
    def distribution(self) -> str:
        """The name of the distribution that declares it."""
        dist = self.entry_point.dist
        return dist.name if dist is not None else "unknown"

    @property
    def version(self) -> str:
        """That distribution's version."""
        dist = self.entry_point.dist
        return dist.version if dist is not None else "unknown"


def installed() -> list[Candidate]:
    """Return every entry point of the group ``pgplugins``, sorted by name."""
    found = [Candidate(ep, _switch(ep)) for ep in entry_points(group=PROJECT)]
    return sorted(found, key=lambda c: (c.name, c.distribution))


def _switch(entry_point: EntryPoint) -> str | None:
    if os.environ.get("PGPLUGINS_DISABLE_AUTOLOAD", "") not in ("", "0"):
        return "PGPLUGINS_DISABLE_AUTOLOAD"
    listed = os.environ.get("PGPLUGINS_DISABLED_PLUGINS", "").split(",")
    disabled = {_normalized(name) for name in listed}
    names = [entry_point.name]
    if entry_point.dist is not None:
        names.append(entry_point.dist.name)
    if disabled.intersection(map(_normalized, names)):
        return "PGPLUGINS_DISABLED_PLUGINS"
    return None


def _normalized(name: str) -> str:
    """Spell a distribution's name as the packaging standard does (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
