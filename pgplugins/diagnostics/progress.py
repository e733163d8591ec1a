"""A progress bar on a terminal, and nothing anywhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

T = TypeVar("T")


def track(
    steps: Iterable[T], description: str, total: int | None = None
) -> Iterator[T]:
    """Iterate, showing progress on the standard error while that is a terminal.

    Args:
        steps: What to iterate over.
        description: Stands in front of the bar.
        total: How many steps there are, if ``steps`` does not know.
    """
    console = Console(stderr=True)
    yield from rich_track(
        steps,
        description=description,
        total=total,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
