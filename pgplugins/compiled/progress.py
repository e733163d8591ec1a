"""What a person at a terminal sees while something is compiled or run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor


@contextmanager
def compiling() -> Iterator[Callable[[str], None]]:
    """Show that a step is being traced, and then what else is done to it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("pgplugins: tracing a step") as status:
        yield lambda what: status.update(f"pgplugins: {what} a step")


@contextmanager
def steps_shown(
    steps: int, wanted: bool
) -> Iterator[Callable[[int, Tensor], None]]:
    """Show a progress bar with the latest loss, if it is wanted and can be seen."""
    console = Console(stderr=True)
    if not (wanted and console.is_terminal):
        yield lambda taken, losses: None
        return
    columns = (
        TextColumn("{task.completed}/{task.total} steps"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=steps, loss="")

        def show(taken: int, losses: Tensor) -> None:
            bar.update(task, advance=taken, loss=f"{losses.mean().item():.4g}")

        yield show
