"""Dependencies that one run has found, for traces of the same run."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from pgplugins.core.learning import is_tracing
from pgplugins.core.provenance import Sources
from pgplugins.errors import ProgramError
from pgplugins.infer.run import Run
from pgplugins.infer.static import EveryRun, Execute, FirstRun, Untracked, structure


class Notes:
    """What ordinary runs have found, in their order; traces go through them again.

    A trace cannot track values, whose operations it records; and need not, as long as
    it meets the sites and costs of the run before it.
    """

    def __init__(self) -> None:
        """Start without runs."""
        self._runs: list[_Found] = []
        self._next = 0

    def again(self) -> None:
        """Go back to the first run."""
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
            self._runs.append(
                _Found(
                    structure(run),
                    [site.upstream for site in run.sites],
                    [cost.upstream for cost in run.costs],
                )
            )
            return run
        run = execute(Untracked())
        known = self._runs[self._next] if self._next < len(self._runs) else None
        self._next += 1
        if known is None or structure(run) != known.structure:
            raise ProgramError(
                "The program met other sites, costs or shapes when it ran again on the "
                "same arguments, so it depends on something that changes from run to "
                "run, and cannot be compiled. Pass what changes as an argument, or "
                "leave pg.compile out."
            )
        for site, upstream in zip(run.sites, known.of_sites, strict=True):
            site.upstream = upstream
        for cost, upstream in zip(run.costs, known.of_costs, strict=True):
            cost.upstream = upstream
        return run


class _Found(NamedTuple):
    """What a run has met, and what depends on what in it."""

    structure: Hashable
    of_sites: list[Sources]
    of_costs: list[Sources]


_notes: Notes | None = None


@contextmanager
def noting() -> Iterator[Notes]:
    """Note what all objectives find, until the end of the context."""
    with _using(Notes()) as notes:
        yield notes


@contextmanager
def noting_again(notes: Notes) -> Iterator[Notes]:
    """Let all objectives find what has been noted: the same is run again."""
    notes.again()
    with _using(notes):
        yield notes


@contextmanager
def _using(notes: Notes) -> Iterator[Notes]:
    global _notes
    before, _notes = _notes, notes
    try:
        yield notes
    finally:
        _notes = before


def notes() -> Notes | None:
    """Return where to note what is found, if anybody wants it noted."""
    return _notes
