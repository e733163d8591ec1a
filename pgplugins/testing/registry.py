"""Which checks there are, and which of them apply to an estimator."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import pyro
import torch

from pgplugins.testing.subject import Subject

Body: TypeAlias = Callable[..., str | None]


class Named(Protocol):
    """A case of a check that is run for several."""

    @property
    def name(self) -> str:
        """An identifier."""


@dataclass(frozen=True)
class Check:
    """One check of one estimator.

    Args:
        name: The function's name, with the case in brackets if there are several.
        summary: What it proves, in a line.
        body: Takes the subject; raises what it finds, returns a remark.

    Example:
        ``parametrize_with_checks`` makes a test of each; here by hand:

        >>> import pgplugins as pg
        >>> from pgplugins.testing.registry import checks_for
        >>> from pgplugins.testing.subject import Subject
        >>> subject = Subject(pg.estimator("enumerate"))
        >>> found = {check.name: check for check in checks_for(subject)}
        >>> check = found["draws_have_their_shape"]
        >>> check.run(subject, seed=0)  # raises nothing, and has nothing to remark
    """

    name: str
    summary: str
    body: Callable[[Subject], str | None]

    def run(self, subject: Subject, seed: int) -> str | None:
        """Run with a seed of its own, leaving no trace outside.

        Args:
            subject: The estimator under test.
            seed: Fixes every random number, with the check's name.

        Returns:
            A remark; ``None`` if there is nothing to say.

        Raises:
            Exception: Whatever was found.
        """
        with _clean_room(seed + zlib.crc32(self.name.encode())):
            return self.body(subject)


@dataclass(frozen=True)
class Omission:
    """A check that does not apply to an estimator.

    Args:
        check: The check's name.
        reason: Why it does not apply.

    Example:
        >>> import pgplugins as pg
        >>> from pgplugins.testing.registry import omissions_for
        >>> from pgplugins.testing.subject import Subject
        >>> omissions = omissions_for(Subject(pg.estimator("enumerate")))
        >>> {found.check: found.reason for found in omissions}["paths_need_no_term"]
        'traits.pathwise is not declared'
    """

    check: str
    reason: str


@dataclass(frozen=True)
class _Entry:
    body: Body
    unless: Callable[[Subject], str | None]
    over: Callable[[Subject], Sequence[Named]] | None
    none: str


_entries: list[_Entry] = []


def check(
    *,
    unless: Callable[[Subject], str | None] = lambda subject: None,
    over: Callable[[Subject], Sequence[Named]] | None = None,
    none: str = "it serves no problem of this kind",
) -> Callable[[Body], Body]:
    """Register a function as a check.

    Args:
        unless: Why it does not apply to an estimator; ``None`` if it does.
        over: The cases that it is run for, one by one; by default it is run once.
        none: Why it is not run where there is no case.
    """

    def add(body: Body) -> Body:
        _entries.append(_Entry(body, unless, over, none))
        return body

    return add


def summaries() -> dict[str, str]:
    """Return the first line of every check's docstring, by name."""
    return {entry.body.__name__: _summary(entry.body) for entry in _entries}


def biased(subject: Subject) -> str | None:
    """Say that a bias is declared, if one is."""
    return None if subject.traits.unbiased else "a bias is declared"


def checks_for(subject: Subject) -> list[Check]:
    """Return the checks that apply to an estimator, in the order in which they run."""
    return [found for found in _sorted(subject) if isinstance(found, Check)]


def omissions_for(subject: Subject) -> list[Omission]:
    """Return the checks that do not apply, and why."""
    return [found for found in _sorted(subject) if isinstance(found, Omission)]


def _sorted(subject: Subject) -> list[Check | Omission]:
    found: list[Check | Omission] = []
    with _clean_room(0):
        for entry in _entries:
            found += _of_entry(entry, subject)
    return found


def _of_entry(entry: _Entry, subject: Subject) -> Sequence[Check | Omission]:
    name, summary = entry.body.__name__, _summary(entry.body)
    reason = entry.unless(subject)
    if reason is not None:
        return [Omission(name, reason)]
    if entry.over is None:
        return [Check(name, summary, entry.body)]
    return [
        Check(f"{name}[{case.name}]", summary, partial(entry.body, case=case))
        for case in entry.over(subject)
    ] or [Omission(name, entry.none)]


def _summary(body: Body) -> str:
    return (inspect.getdoc(body) or "").splitlines()[0].rstrip(".")


@contextmanager
def _clean_room(seed: int) -> Iterator[None]:
    """Validation on, a seed, and the caller's generators and parameters untouched."""
    store: Any = pyro.get_param_store()
    with (
        torch.random.fork_rng(devices=[]),
        store.scope(),
        pyro.validation_enabled(True),
        torch.enable_grad(),
    ):
        torch.manual_seed(seed % 2**63)
        yield
