"""When dependencies are found: at every run, or once and kept."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.provenance import Sources
from pgplugins.core.watch import Watch
from pgplugins.errors import ProgramError
from pgplugins.infer.dependencies import Dependencies, Provenance, make_dependencies
from pgplugins.infer.run import Run

Execute = Callable[[Dependencies], Run]

_EVERYTHING: Sources = -1
# What is remembered, and for how many runs a path that was met once is waited for.
_PROGRAMS = 16
_QUIET_PATHS = 64
_PATIENCE = 100
_SIMPLE = (bool, int, float, str)
_DATA = (Tensor, np.ndarray, Distribution, list, dict)


class EveryRun:
    """Finds the dependencies anew at every run, and learns which runs need a watch.

    The watch (:class:`~pgplugins.core.watch.Watch`) costs time at every torch call, so
    a program goes without it once its watched runs are *quiet* and show nothing new:
    nothing escapes, and the program turns no tensor into a Python value, so tensors do
    not decide which calls it makes. A run without the watch that escapes after all, or
    takes another path, has changed for reasons of its own. Its costs then count as
    downstream of everything, as with ``"plates"``, and the next runs are watched.

    Such a run is not repeated: that would disturb programs that change state, such as
    counters, environments, batch statistics and iterators.
    """

    def __init__(self, kind: str) -> None:
        """Choose how they are found."""
        self.kind = kind
        self._programs: dict[Hashable, _Paths] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle without what was learnt."""
        return EveryRun, (self.kind,)

    def run(self, execute: Execute, *programs: Callable[..., Any]) -> Run:
        """Run a program."""
        if self.kind != "provenance":
            return execute(make_dependencies(self.kind))
        paths = self._paths(program_key(*programs))
        if paths.need_watch:
            return self._watched(execute, paths)
        policy = Provenance()
        try:
            with _eagerly() if paths.tracked else nullcontext():
                run = execute(policy)
        finally:
            policy.close()
        if policy.branches or policy.path not in paths.quiet:
            paths.watch_for(policy.path)
            _depend_on_everything(run)
        return run

    def run_watched(self, execute: Execute) -> Run:
        """Run a program of which nothing is known."""
        if self.kind != "provenance":
            return execute(make_dependencies(self.kind))
        return self._watched(execute, _Paths())

    def _watched(self, execute: Execute, paths: _Paths) -> Run:
        policy = Provenance()
        watch = Watch(policy.tracker)
        try:
            with _eagerly(), watch:
                run = execute(policy)
        finally:
            policy.close()
        # Without tracked sites there is nothing to lose.
        tensors_decide = policy.branches or watch.values_were_read
        paths.note(policy.path, quiet=not (policy.names and tensors_decide))
        paths.tracked = paths.tracked or bool(policy.names)
        return run

    def _paths(self, program: Hashable) -> _Paths:
        paths = self._programs.get(program)
        if paths is None:
            while len(self._programs) >= _PROGRAMS:
                del self._programs[next(iter(self._programs))]
            paths = self._programs[program] = _Paths()
        return paths


class _Paths:
    """The ways through one program that need no watch."""

    def __init__(self) -> None:
        self.quiet: set[Hashable] = set()
        self.tracked = False
        self._settled = False
        self._wanted: Hashable = None
        self._patience = 0

    @property
    def need_watch(self) -> bool:
        """Whether the next run has to be watched."""
        return not self._settled or self._wanted is not None

    def watch_for(self, path: Hashable) -> None:
        """Watch until a path comes up again, or for a while if it does not."""
        self._wanted = path
        self._patience = _PATIENCE

    def note(self, path: Hashable, *, quiet: bool) -> None:
        """Note the path of a watched run."""
        self._patience -= 1
        if path == self._wanted or self._patience <= 0:
            self._wanted = None
        self._settled = quiet and path in self.quiet
        if not quiet or len(self.quiet) >= _QUIET_PATHS:
            self.quiet.clear()
        if quiet:
            self.quiet.add(path)


class FirstRun:
    """Finds the dependencies once, and again when sites, shapes or plates change.

    The run that shows the change is not repeated: its costs count as downstream of
    everything, as with ``"plates"``, and the next runs find dependencies until one of
    them is of its kind (chunks of particles may take turns in two sizes).
    """

    def __init__(self, kind: str) -> None:
        """Choose how they are found."""
        self._find = EveryRun(kind)
        self._known: dict[Hashable, tuple[list[Sources], list[Sources]]] = {}
        self._wanted: set[Hashable] = set()  # met once, and not found out yet
        self._patience = 0

    def run_watched(self, execute: Execute) -> Run:
        """Run a program of which nothing is known."""
        return self._find.run_watched(execute)

    def run(self, execute: Execute, *programs: Callable[..., Any]) -> Run:
        """Run a program untracked if its structure is known, else tracked.

        Raises:
            ProgramError: The program turns draws into Python values, so what depends on
                what can change from run to run.
        """
        program = program_key(*programs)
        if self._known and not self._wanted:
            run = execute(Untracked())
            met = program, structure(run)
            found = self._known.get(met)
            if found is not None:
                for site, upstream in zip(run.sites, found[0], strict=True):
                    site.upstream = upstream
                for cost, upstream in zip(run.costs, found[1], strict=True):
                    cost.upstream = upstream
            else:
                self._wanted.add(met)
                self._patience = _PATIENCE
                _depend_on_everything(run)
            return run
        run = self._find.run_watched(lambda policy: _refuse_branches(execute, policy))
        met = program, structure(run)
        self._patience -= 1
        self._wanted.discard(met)
        if self._patience <= 0:
            self._wanted.clear()
        self._known[met] = (
            [site.upstream for site in run.sites],
            [cost.upstream for cost in run.costs],
        )
        return run


def _depend_on_everything(run: Run) -> None:
    for site in run.sites:
        site.upstream = _EVERYTHING
    for cost in run.costs:
        cost.upstream = _EVERYTHING


class Untracked(Dependencies):
    """Finds nothing: the dependencies are known already."""

    def upstream_now(self) -> Sources:
        """Nothing."""
        return 0

    @property
    def in_python(self) -> Sources:
        """None: the first run would have been refused."""
        return 0


def _eagerly() -> AbstractContextManager[object]:
    """Run compiled functions as they are written: compilers do not know ``Tracked``."""
    if "torch._dynamo" not in sys.modules:  # slow to load, and nothing is compiled
        return nullcontext()
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


def _refuse_branches(execute: Execute, policy: Dependencies) -> Run:
    run = execute(policy)
    if isinstance(policy, Provenance) and policy.branches:
        names = policy.tracker.names_of(policy.tracker.escaped)
        raise ProgramError(
            "static=True keeps the dependencies of the first run, but the program "
            f"turns values that come from {', '.join(map(repr, names))} into Python "
            "values (if, .item(), float()) or hides them (torch.full, torch.jit), so "
            "they can change. Leave static out, or write torch.where(...) instead of "
            "the branch."
        )
    return run


def program_key(*programs: Callable[..., Any]) -> Hashable:
    """Tell programs apart; a closure that is made anew for every call is the same one.

    Functions of the same code differ if they hold different numbers, names, functions
    or objects, in their closures or as defaults, be it in tuples; methods if they
    belong to different instances. Data may differ: tensors, arrays, distributions,
    lists and dictionaries.
    """
    return tuple(_identity(program) for program in programs)


def _identity(
    program: object, within: frozenset[FunctionType] = frozenset()
) -> Hashable:
    if isinstance(program, MethodType):  # made anew whenever it is looked up
        return _identity(program.__func__, within), _Itself(program.__self__)
    if not isinstance(program, FunctionType):
        return _Itself(program)
    if program in within:  # it calls itself
        return program.__code__
    within |= {program}
    held = [_content(cell) for cell in program.__closure__ or ()]
    held += program.__defaults__ or ()
    held += (program.__kwdefaults__ or {}).values()
    return program.__code__, tuple(_part(part, within) for part in held)


def _part(value: object, within: frozenset[FunctionType]) -> object:
    """Tell apart what closures hold; data may be new at every call."""
    if isinstance(value, _SIMPLE):
        return value
    if isinstance(value, tuple):
        return tuple(_part(part, within) for part in value)
    if isinstance(value, partial):
        return "partial", _part(
            (value.func, value.args, *value.keywords.items()), within
        )
    if value is None or isinstance(value, _DATA):
        return type(value)
    return _identity(value, within)


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # a name that is assigned later
        return None


class _Itself:
    """Stands for one object, whatever that says of its equality and its hash."""

    def __init__(self, one: object) -> None:
        self.one = one

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.one is other.one

    def __hash__(self) -> int:
        return id(self.one)


def structure(run: Run) -> Hashable:
    """What tells a run from one that met other sites, costs, plates or shapes."""
    return (
        tuple((s.name, s.plates, s.draw.value.shape, s.row_dim) for s in run.sites),
        tuple((c.name, c.plates, c.value.shape) for c in run.costs),
    )
