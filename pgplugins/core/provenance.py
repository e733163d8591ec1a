"""Sound provenance: which random choices a value comes from, escapes included.

A value drawn at a site is wrapped in a :class:`Tracked` tensor that remembers its
sources; every torch operation passes the union of its inputs' sources on. A value that
*escapes* into Python (``bool``, ``item``, ``float``, ``index``, ``tolist``, ``numpy``,
a shape that depends on values, a write into an untracked tensor) can influence anything
that runs afterwards, so from then on everything is downstream of its sources.

Tracking without escapes is Wingate et al. (2011), "Nonstandard interpretations of
probabilistic programs for efficient inference"; a program that branches on a latent
shows why it is not enough.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from pgplugins.core.calls import (
    ONE_VALUE,
    changes_in_place,
    is_alias,
    is_comparison,
    is_constraint_check,
    is_metadata,
    is_validation,
    kind_of,
    metadata_functions,
    name_of,
    needs_values,
)
from pgplugins.core.tracker import Sources as Sources
from pgplugins.core.tracker import Tracker as Tracker


class Tracked(Tensor):
    """A tensor that remembers which sites it comes from."""

    _tracker: Tracker
    _sources: Sources
    _shares: Tensor | None = None  # memory of a tensor that is not its ``_base``

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """Copy the value and keep its sources."""
        return track(copy.deepcopy(plain(self), memo), self._tracker, self._sources)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Serialise as a plain tensor; whoever reads it back is downstream."""
        if self._tracker.live:
            self._tracker.escape(self._sources)
        return plain(self).__reduce_ex__(protocol)

    def __repr__(self) -> str:  # type: ignore[override]
        """Show the plain value; whoever reads the text is downstream."""
        if self._tracker.live:
            self._tracker.shown(self._sources)
        return repr(plain(self))

    def __format__(self, spec: str) -> str:
        """Write the plain value out; whoever reads the text is downstream."""
        if self._tracker.live:
            self._tracker.shown(self._sources)
        return format(plain(self), spec)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run ``func`` on plain tensors and pass the inputs' sources on."""
        if func in metadata_functions:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        tracker: Tracker | None = None
        sources = 0
        for arg in args:
            kind = type(arg)
            if kind is Tracked:
                if arg._tracker.live:
                    tracker = arg._tracker
                    sources |= arg._sources
            elif kind is not Tensor and isinstance(arg, (tuple, list, dict)):
                for part in tracked_parts(arg):
                    tracker = part._tracker
                    sources |= part._sources
        if kwargs:
            for part in tracked_parts(kwargs):
                tracker = part._tracker
                sources |= part._sources
        try:
            with torch._C.DisableTorchFunctionSubclass():
                out = func(*args, **kwargs) if kwargs else func(*args)
        except (RuntimeError, TypeError, ValueError):
            if tracker is not None and name_of(func) in ONE_VALUE:
                tracker.refuse_many(sources)
            raise
        if tracker is None or (type(out) is not Tensor and is_metadata(func)):
            return out
        tracker.calls += 1
        if type(out) is Tensor:
            for arg in (*args, *kwargs.values()) if kwargs else args:
                if arg is out:
                    break
            else:
                if not kind_of(func):
                    return _adopt(out, tracker, sources)
                if is_comparison(func) and is_constraint_check(sys._getframe(1)):
                    return out
                found = _adopt(out, tracker, sources)
                _note_kind(func, args, kwargs, found)
                return found
        return _pass_on(func, args, kwargs, out, tracker, sources)


def _note_kind(
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None,
    out: Tracked,
) -> None:
    """Note what is special about the result of some functions."""
    if needs_values(func, args, kwargs):
        out._tracker.escape(out._sources)
    if is_alias(func):
        out._shares = args[0]


def _adopt(value: Any, tracker: Tracker, sources: Sources) -> Tracked:
    """Turn a tensor that nobody else has seen into a tracked one, in place.

    Cheaper than ``as_subclass``, which adds a node to the autograd graph.
    """
    value.__class__ = Tracked
    value._tracker = tracker
    value._sources = sources
    adopted: Tracked = value
    return adopted


def _pass_on(
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None,
    out: Any,
    tracker: Tracker,
    sources: Sources,
) -> Any:
    """Handle every result that is not one new plain tensor."""
    if kwargs and kwargs.get("out") is not None:
        tracker.escape(sources)
        return out
    if isinstance(out, Tensor):
        if type(out) is Tracked:
            if changes_in_place(func):
                tracker.escape(sources & ~_known_to_all(out))
            out._sources |= sources
            return out
        if changes_in_place(func):
            tracker.escape(sources)
            return out
        with torch._C.DisableTorchFunctionSubclass():
            return _adopt(out.as_subclass(Tensor), tracker, sources)
    if out is None:
        # A backward pass writes into the leaves, which nobody tracks.
        written = args and name_of(func) != "backward"
        tracker.escape(sources & ~(_known_to_all(args[0]) if written else 0))
        return out
    if isinstance(out, (tuple, list)) and any(isinstance(o, Tensor) for o in out):
        by_value = needs_values(func, args, kwargs) or name_of(func) == "where"
        if by_value or changes_in_place(func):
            tracker.escape(sources)
        _track_all(out, set(map(id, _tensors(args))), tracker, sources)
        return out
    if not is_validation(sys._getframe(2)):
        tracker.escape(sources)
    return out


def _known_to_all(target: object) -> Sources:
    """Sources that every tensor knows which shares the target's memory.

    Whoever writes into a view writes into its base, and whoever holds another view of
    that base reads it there.
    """
    known = ~0
    while type(target) is Tracked and target._tracker.live:
        known &= target._sources
        with torch._C.DisableTorchFunctionSubclass():
            if target.is_inference():
                return 0  # such a view does not say what it is a view of
            base = target._base
        target = target._shares if base is None else base
        if target is None:
            return known
    return 0


def _track_all(out: Any, given: set[int], tracker: Tracker, sources: Sources) -> None:
    for part in out:
        if type(part) is Tensor and id(part) not in given:
            _adopt(part, tracker, sources)
        elif type(part) is Tracked:
            part._sources |= sources
        elif isinstance(part, (tuple, list)):
            _track_all(part, given, tracker, sources)
    # An input that is handed back as it came keeps what it had.


def _tensors(container: Any) -> Iterable[Tensor]:
    for part in container.values() if isinstance(container, dict) else container:
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, (tuple, list, dict)):
            yield from _tensors(part)


def tracked_parts(container: Any) -> Iterable[Tracked]:
    """Yield the live tracked tensors in tuples, lists and dicts, at any depth."""
    for part in container.values() if isinstance(container, dict) else container:
        kind = type(part)
        if kind is Tracked:
            if part._tracker.live:
                yield part
        elif kind is not Tensor and isinstance(part, (tuple, list, dict)):
            yield from tracked_parts(part)


def track(value: Tensor, tracker: Tracker, sources: Sources) -> Tensor:
    """Return ``value``, which the program has not seen, with its ``sources``.

    Example:
        >>> tracker = Tracker()
        >>> z = track(torch.tensor(1.0), tracker, tracker.source("z"))
        >>> tracker.names_of(sources_of_value(2 * z + 1))
        ['z']
        >>> bool(z > 0), tracker.names_of(tracker.escaped)
        (True, ['z'])
    """
    with torch._C.DisableTorchFunctionSubclass():
        own = value.as_subclass(Tensor) if value.requires_grad else value.detach()
        return _adopt(own, tracker, sources)


def plain(value: Tensor) -> Tensor:
    """Return ``value`` without its provenance, in the same autograd graph."""
    if type(value) is not Tracked:
        return value
    with torch._C.DisableTorchFunctionSubclass():
        return value.as_subclass(Tensor)


def sources_of_value(value: object) -> Sources:
    """Sources of a value; none for anything that is not tracked in a live run."""
    if type(value) is Tracked and value._tracker.live:
        return value._sources
    return 0
