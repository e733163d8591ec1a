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
    """

    name: str
    summary: str
    body: Callable[[Subject], str | None]

    def run(self, subject: Subject, seed: int) -> str | None:
        """Run with a seed of its own, leaving no trace outside.

        Raises:
            Exception: Whatever was found.
        """
        with _clean_room(seed + zlib.crc32(self.name.encode())):
            return self.body(subject)


@dataclass(frozen=True)
class _Entry:
    body: Body
    when: Callable[[Subject], bool]
    over: Callable[[Subject], Sequence[Named]] | None


_entries: list[_Entry] = []


def check(
    *,
    when: Callable[[Subject], bool] = lambda subject: True,
    over: Callable[[Subject], Sequence[Named]] | None = None,
) -> Callable[[Body], Body]:
    """Register a function as a check.

    Args:
        when: Whether it applies.
        over: The cases that it is run for, one by one; by default it is run once.
    """

    def add(body: Body) -> Body:
        _entries.append(_Entry(body, when, over))
        return body

    return add


def summaries() -> dict[str, str]:
    """Return the first line of every check's docstring, by name."""
    return {entry.body.__name__: _summary(entry.body) for entry in _entries}


def checks_for(subject: Subject) -> list[Check]:
    """Return the checks that apply to an estimator, in the order in which they run."""
    with _clean_room(0):
        return _applicable(subject)


def _applicable(subject: Subject) -> list[Check]:
    found: list[Check] = []
    for entry in _entries:
        if not entry.when(subject):
            continue
        name, summary = entry.body.__name__, _summary(entry.body)
        if entry.over is None:
            found.append(Check(name, summary, entry.body))
            continue
        found += [
            Check(f"{name}[{case.name}]", summary, partial(entry.body, case=case))
            for case in entry.over(subject)
        ]
    return found


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
