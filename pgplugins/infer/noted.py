"""Dependencies that one run has found, for traces of the same run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pgplugins.core.fold import CostTerm, Site
from pgplugins.core.learning import is_tracing
from pgplugins.errors import ProgramError
from pgplugins.infer.run import Run
from pgplugins.infer.static import EveryRun, Execute, FirstRun, Untracked, structure

Parts = list[Site] | list[CostTerm]


class Notes:
    """What ordinary runs have found, in their order; traces go through them again.

    A trace cannot track values, whose operations it records; and need not, as long as
    it meets the sites and costs of the run before it.
    """

    def __init__(self) -> None:
        """Start without runs."""
        self._runs: list[Run] = []
        self._next = 0

    def again(self) -> None:
        """Go back to the first run: a trace begins."""
        self._next = 0

    def run(
        self,
        kept: EveryRun | FirstRun,
        execute: Execute,
        *programs: Callable[..., object],
    ) -> Run:
        """Run a program: find its dependencies, or in a trace take the noted ones.

        Raises:
            ProgramError: The trace meets other sites, costs or shapes.
        """
        if not is_tracing():
            run = kept.run_watched(execute)
            self._runs.append(run)
            return run
        run = execute(Untracked())
        known = self._runs[self._next] if self._next < len(self._runs) else None
        self._next += 1
        if known is None or structure(run) != structure(known):
            raise ProgramError(
                "The program met other sites, costs or shapes when it ran again on the "
                "same arguments, so it depends on something that changes from run to "
                "run, and cannot be compiled. Pass what changes as an argument, or "
                "leave pg.compile out."
            )
        for site, before in zip(run.sites, known.sites, strict=True):
            site.upstream = before.upstream
        for cost, before_cost in zip(run.costs, known.costs, strict=True):
            cost.upstream = before_cost.upstream
        return run


_notes: Notes | None = None


@contextmanager
def noting() -> Iterator[Notes]:
    """Note what all objectives find, until the end of the context."""
    global _notes
    before, _notes = _notes, Notes()
    try:
        yield _notes
    finally:
        _notes = before


def notes() -> Notes | None:
    """Return where to note what is found, if anybody wants it noted."""
    return _notes
