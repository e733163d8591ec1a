"""What an estimator learns after a step, also where the step itself is a graph.

A graph that has been traced once and runs many times can hold tensor operations, but no
Python decisions. What decides by values, such as a regression that waits until it has
enough rows, is called through :func:`afterwards`: at once in an ordinary run, and after
every run of the graph where the step has been traced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from pgplugins.core.draw import Draw
    from pgplugins.core.estimator import Estimator

Learn = Callable[..., None]


class Lesson(NamedTuple):
    """A call that is due after every run of a graph.

    Args:
        learn: What is called.
        tensors: What it is called with, as the trace shows them.
    """

    learn: Learn
    tensors: tuple[Tensor | None, ...]


_lessons: list[Lesson] | None = None
_met: dict[int, Estimator] | None = None


def is_tracing() -> bool:
    """Whether the run is a trace: it shows operations, and its values mean nothing."""
    return _lessons is not None


def afterwards(learn: Learn, *tensors: Tensor | None) -> None:
    """Call ``learn(*tensors)``: now, or after every run of the graph that is traced.

    Args:
        learn: What decides by values and changes state; it returns nothing.
        tensors: All that it needs of the current run, detached; ``None`` stays.

    Example:
        >>> import torch
        >>> afterwards(print, torch.tensor(1.0))
        tensor(1.)
        >>> with collected() as lessons:
        ...     afterwards(print, torch.tensor(2.0))
        >>> lessons[0].tensors
        (tensor(2.),)
    """
    if _lessons is not None:
        _lessons.append(Lesson(learn, tensors))
    elif _met is None:
        learn(*tensors)


@contextmanager
def collected() -> Iterator[list[Lesson]]:
    """Collect what is due afterwards, instead of doing it: this run is a trace."""
    global _lessons
    before, _lessons = _lessons, []
    try:
        yield _lessons
    finally:
        _lessons = before


def teach(estimator: Estimator, draw: Draw, cost: Tensor) -> None:
    """Let an estimator learn from the costs that it has just been used on."""
    if _met is None:
        estimator.update(draw, cost)
    else:
        _met[id(estimator)] = estimator


@contextmanager
def rehearsing() -> Iterator[dict[int, Estimator]]:
    """Let nobody learn from what is run, and collect who would, by identity."""
    global _met
    before, _met = _met, {}
    try:
        yield _met
    finally:
        _met = before
