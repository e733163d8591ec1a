"""Dependencies found once and kept, for programs whose structure does not change."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from types import FunctionType
from typing import Any

from pgplugins.core.provenance import Sources
from pgplugins.errors import ProgramError
from pgplugins.infer.dependencies import Dependencies, Provenance, make_dependencies
from pgplugins.infer.run import Run

Execute = Callable[[Dependencies], Run]


class EveryRun:
    """Finds the dependencies anew at every run."""

    def __init__(self, kind: str) -> None:
        """Choose how they are found."""
        self.kind = kind

    def run(self, execute: Execute, *programs: Callable[..., Any]) -> Run:
        """Run a program."""
        policy = make_dependencies(self.kind)
        try:
            return execute(policy)
        finally:
            policy.close()


class FirstRun:
    """Finds the dependencies once, and again when sites, shapes or plates change."""

    def __init__(self, kind: str) -> None:
        """Choose how they are found."""
        self._find = EveryRun(kind)
        self._known: dict[Hashable, tuple[list[Sources], list[Sources]]] = {}

    def run(self, execute: Execute, *programs: Callable[..., Any]) -> Run:
        """Run a program untracked if its structure is known, else tracked.

        Raises:
            ProgramError: The program turns draws into Python values, so what depends on
                what can change from run to run.
        """
        program = program_key(*programs)
        if self._known:
            run = execute(Untracked())
            found = self._known.get((program, _structure(run)))
            if found is not None:
                for site, upstream in zip(run.sites, found[0], strict=True):
                    site.upstream = upstream
                for cost, upstream in zip(run.costs, found[1], strict=True):
                    cost.upstream = upstream
                return run
        run = self._find.run(
            lambda policy: _refuse_branches(execute, policy), *programs
        )
        self._known[program, _structure(run)] = (
            [site.upstream for site in run.sites],
            [cost.upstream for cost in run.costs],
        )
        return run


class Untracked(Dependencies):
    """Finds nothing: the dependencies are known already."""

    def upstream_now(self) -> Sources:
        """Nothing."""
        return 0


def _refuse_branches(execute: Execute, policy: Dependencies) -> Run:
    run = execute(policy)
    if isinstance(policy, Provenance) and policy.branches:
        names = policy.tracker.names_of(policy.tracker.escaped)
        raise ProgramError(
            "static=True keeps the dependencies of the first run, but the program "
            f"turns values that come from {', '.join(map(repr, names))} into Python "
            "values (if, .item(), float()), so they can change. Leave static out, or "
            "write torch.where(...) instead of the branch."
        )
    return run


def program_key(*programs: Callable[..., Any]) -> Hashable:
    """Tell programs apart; a closure that is made anew for every call is the same one.

    Closures of the same code differ if they hold different numbers, names or functions.
    """
    return tuple(_identity(program) for program in programs)


def _identity(program: Callable[..., Any]) -> Hashable:
    code = getattr(program, "__code__", None)
    if code is None:
        return program
    held = [cell.cell_contents for cell in getattr(program, "__closure__", None) or ()]
    return code, tuple(
        _identity(part) if isinstance(part, FunctionType) else part
        for part in held
        if isinstance(part, (bool, int, float, str, FunctionType))
    )


def _structure(run: Run) -> Hashable:
    return (
        tuple((s.name, s.plates, s.draw.value.shape, s.row_dim) for s in run.sites),
        tuple((c.name, c.plates, c.value.shape) for c in run.costs),
    )
