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
from torch.distributions import Distribution

from pgplugins.core.calls import (
    DATA_DEPENDENT_SHAPE,
    METADATA,
    ONE_VALUE,
    is_functional_transform,
    is_validation,
    metadata_functions,
    name_of,
    needs_values,
)
from pgplugins.errors import ProgramError

# The level of the innermost torch.func transform that is running, or None.
_transform_level = torch._C._functorch.maybe_current_level

Sources = int
"""A set of sites as a bit mask: bit ``i`` stands for the ``i``-th tracked site."""


class Tracker:
    """One run's record of its tracked sites and of the sources that escaped.

    Example:
        >>> tracker = Tracker()
        >>> z = tracker.track(torch.tensor(1.0), tracker.source("z"))
        >>> tracker.names_of(sources_of_value(2 * z + 1))
        ['z']
        >>> bool(z > 0), tracker.names_of(tracker.escaped)
        (True, ['z'])
    """

    def __init__(self) -> None:
        """Start with no sites."""
        self.names: list[str] = []
        self.escaped: Sources = 0
        self.live = True
        self._many_rows: Sources = 0

    def source(self, name: str, *, many_rows: bool = False) -> Sources:
        """Add a site; returns the set that holds it alone."""
        bit = 1 << len(self.names)
        self.names.append(name)
        if many_rows:
            self._many_rows |= bit
        return bit

    def names_of(self, sources: Sources) -> list[str]:
        """Names of the sites in a set, in the order in which they were drawn."""
        return [name for i, name in enumerate(self.names) if sources >> i & 1]

    def track(self, value: Tensor, sources: Sources) -> Tensor:
        """Return ``value`` as a tensor that remembers ``sources``."""
        tracked = plain(value).as_subclass(Tracked)
        tracked._tracker = self
        tracked._sources = sources
        return tracked

    def escape(self, sources: Sources) -> None:
        """Make everything that runs from now on downstream of ``sources``.

        Raises:
            ProgramError: A source has several rows, so that Python cannot follow them
                all at once.
        """
        many = sources & self._many_rows
        if many:
            names = ", ".join(repr(n) for n in self.names_of(many))
            raise ProgramError(
                f"The program turns a value that depends on site {names} into a Python "
                "value (if, float(), .item(), indexing by value), but the estimator of "
                "that site draws several rows at once and Python can follow only one. "
                "Write torch.where(...) instead of the branch, or give the site an "
                'estimator with one row, such as "score_function".'
            )
        self.escaped |= sources

    def shown(self, sources: Sources) -> None:
        """Note that a value was written out: the text may become a name or a key.

        A text shows all rows at once, so nobody chooses between them.
        """
        self.escaped |= sources & ~self._many_rows

    def refuse_many(self, sources: Sources) -> None:
        """Raise for a value of several elements that is asked to be one.

        Raises:
            ProgramError: Naming the sites that the value depends on.
        """
        self.escape(sources)  # several rows have a reason of their own
        names = ", ".join(repr(n) for n in self.names_of(sources))
        raise ProgramError(
            f"The program turns a value that depends on site {names} into one Python "
            "value (if, float(), .item()), but it holds several particles or plate "
            "elements. Write torch.where(...) instead of the branch, "
            "vectorize_particles=False, or a sequential plate."
        )

    def close(self) -> None:
        """End the run: values that outlive it are plain from now on."""
        self.live = False


class Tracked(Tensor):
    """A tensor that remembers which sites it comes from."""

    _tracker: Tracker
    _sources: Sources

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """Copy the value and keep its sources."""
        return self._tracker.track(copy.deepcopy(plain(self), memo), self._sources)

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
        if func in metadata_functions and not is_functional_transform(
            sys._getframe(1).f_code
        ):
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
                for part in _tracked_parts(arg):
                    tracker = part._tracker
                    sources |= part._sources
        if kwargs:
            for part in _tracked_parts(kwargs):
                tracker = part._tracker
                sources |= part._sources
            with torch._C.DisableTorchFunctionSubclass():
                out = func(*args, **kwargs)
        else:
            try:
                with torch._C.DisableTorchFunctionSubclass():
                    out = func(*args)
            except (RuntimeError, TypeError, ValueError):
                if tracker is not None and name_of(func) in ONE_VALUE:
                    tracker.refuse_many(sources)
                raise
        if tracker is None:
            return out
        if _transform_level() is not None:
            # What torch.func wraps loses its class when it is unwrapped again.
            tracker.escape(sources)
        if type(out) is Tensor and not (kwargs and "out" in kwargs):
            for arg in args:
                if arg is out:
                    break
            else:
                if needs_values(func, args):
                    tracker.escape(sources)
                return _adopt(out, tracker, sources)
        return _pass_on(func, args, kwargs, out, tracker, sources)


def _adopt(value: Any, tracker: Tracker, sources: Sources) -> Tensor:
    """Turn a tensor that nobody else has seen into a tracked one, in place.

    Cheaper than ``as_subclass``, which adds a node to the autograd graph.
    """
    value.__class__ = Tracked
    value._tracker = tracker
    value._sources = sources
    adopted: Tensor = value
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
    name = name_of(func)
    if isinstance(out, Tensor):
        if type(out) is Tracked:
            if sources & ~out._sources:
                # Views of the same storage may exist that do not know the new sources.
                tracker.escape(sources & ~out._sources)
                out._sources |= sources
            return out
        if name.endswith("_") or name.startswith("__i"):
            tracker.escape(sources)
            return out
        return tracker.track(out, sources)
    if out is None:
        target = args[0] if args else None
        known = target._sources if type(target) is Tracked else 0
        if sources & ~known:
            tracker.escape(sources & ~known)
        return out
    if isinstance(out, (tuple, list)) and any(isinstance(o, Tensor) for o in out):
        if name in DATA_DEPENDENT_SHAPE or (name == "where" and len(args) == 1):
            tracker.escape(sources)
        return _track_all(out, args, tracker, sources)
    caller = sys._getframe(2).f_code
    if name in METADATA:
        metadata_functions.add(func)
        if is_functional_transform(caller):
            tracker.escape(sources)
    elif not is_validation(caller):
        tracker.escape(sources)
    return out


def _track_all(
    out: Any, args: tuple[Any, ...], tracker: Tracker, sources: Sources
) -> Any:
    for part in out:
        if type(part) is Tensor and not _shares_identity(part, args):
            _adopt(part, tracker, sources)
        elif type(part) is Tracked:
            part._sources |= sources
        elif isinstance(part, (tuple, list)):
            _track_all(part, args, tracker, sources)
    return out  # an input handed back as it came keeps what it had


def _tracked_parts(container: Any) -> Iterable[Tracked]:
    for part in container.values() if isinstance(container, dict) else container:
        kind = type(part)
        if kind is Tracked:
            if part._tracker.live:
                yield part
        elif kind is not Tensor and isinstance(part, (tuple, list, dict)):
            yield from _tracked_parts(part)


def _shares_identity(out: Tensor, args: tuple[Any, ...]) -> bool:
    return any(out is arg for arg in args)


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


_STATELESS = (int, float, bool, str, type(None), torch.Size, torch.dtype, torch.device)


def sources_of_state(state: object) -> Sources | None:
    """Sources of everything that an object's attributes hold.

    Returns:
        ``None`` if an attribute is of a kind that cannot be looked into, so that only
        running the object's code can tell.
    """
    total = 0
    for part in vars(state).values():
        kind = type(part)
        if kind is Tracked:
            if part._tracker.live:
                total |= part._sources
        elif issubclass(kind, (Tensor, *_STATELESS)):
            continue
        elif isinstance(part, Distribution):
            inner = sources_of_state(part)
            if inner is None:
                return None
            total |= inner
        elif isinstance(part, dict) and all(
            isinstance(v, _STATELESS) for v in part.values()
        ):
            continue
        else:
            return None
    return total
