"""What became of a plugin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PluginRecord:
    """A plugin that was found, and what became of it.

    Args:
        name: The name of its entry point (``"pgplugins"`` for the built-in one).
        distribution: The installed distribution that it comes from.
        version: That distribution's version.
        status: ``"loaded"``, ``"failed"`` or ``"disabled"``.
        error: What went wrong, or the environment variable that disabled it; ``None``
            for a plugin that was loaded.
        estimators: The names that it registered.
    """

    name: str
    distribution: str
    version: str
    status: Literal["loaded", "failed", "disabled"]
    error: str | None = None
    estimators: tuple[str, ...] = ()
