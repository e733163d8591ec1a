"""Shows lint what distributions draw and which densities they are asked for.

The methods are wrapped while any lint is open, in any thread; a thread without one goes
straight through.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch.distributions import Distribution
from torch.distributions.transforms import TanhTransform


class Listener(Protocol):
    """What is told of the methods of distributions."""

    def enter(self) -> None:
        """Hear that a method begins."""

    def leave(self) -> None:
        """Hear that it has ended."""

    def drawn(self, law: Distribution, value: Any) -> None:
        """Hear of a draw."""

    def density(self, law: Distribution, value: Any, out: Any) -> None:
        """Hear of a log-density."""

    def inverted(self, value: Any) -> None:
        """Hear that tanh was inverted, for want of a preimage."""

    def from_python(self, out: Any) -> None:
        """Hear of a tensor that was made from an array."""


class _Thread(threading.local):
    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        self.inside = False


_thread = _Thread()
_lock = threading.Lock()
_open = 0
_originals: list[tuple[Any, str, Any]] = []
_wrapped: set[type] = set()


def listen(listener: Listener) -> None:
    """Tell a listener of what this thread does."""
    global _open
    with _lock:
        _open += 1
        if _open == 1:
            _install()
    _thread.listeners.append(listener)


def stop(listener: Listener) -> None:
    """Tell it no more."""
    global _open
    _thread.listeners.remove(listener)
    with _lock:
        _open -= 1
        if _open == 0:
            while _originals:
                owner, name, original = _originals.pop()
                setattr(owner, name, original)
            _wrapped.clear()


def _install() -> None:
    for law in {Distribution, *_subclasses(Distribution)}:
        _wrap_methods(law)
    _replace(TanhTransform, "_inverse", _inverse)
    _replace(torch, "from_numpy", _from_numpy)
    begin = Distribution.__init__

    @functools.wraps(begin)
    def init(self: Distribution, *args: Any, **kwargs: Any) -> None:
        _wrap_methods(*type(self).__mro__)  # classes that are younger than the lint
        begin(self, *args, **kwargs)

    _originals.append((Distribution, "__init__", begin))
    Distribution.__init__ = init  # type: ignore[method-assign]


def _wrap_methods(*laws: type) -> None:
    for law in laws:
        if law in _wrapped or not issubclass(law, Distribution):
            continue
        _wrapped.add(law)
        for name in ("sample", "rsample", "log_prob"):
            method = vars(law).get(name)
            if callable(method):
                _replace(law, name, _log_prob if name == "log_prob" else _draw)


def _replace(owner: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
    original = vars(owner)[name]
    _originals.append((owner, name, original))
    setattr(owner, name, wrapper(original))


def _draw(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def draw(self: Distribution, *args: Any, **kwargs: Any) -> Any:
        if _thread.inside or not _thread.listeners:
            return method(self, *args, **kwargs)
        value = _run(method, self, *args, **kwargs)
        for listener in _thread.listeners:
            listener.drawn(self, value)
        return value

    return draw


def _log_prob(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def log_prob(self: Distribution, value: Any, *args: Any, **kwargs: Any) -> Any:
        if _thread.inside or not _thread.listeners:
            return method(self, value, *args, **kwargs)
        out = _run(method, self, value, *args, **kwargs)
        for listener in _thread.listeners:
            listener.density(self, value, out)
        return out

    return log_prob


def _run(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run the outermost method: what it calls in turn is its own affair."""
    listeners = list(_thread.listeners)
    _thread.inside = True
    for listener in listeners:
        listener.enter()
    try:
        return method(*args, **kwargs)
    finally:
        _thread.inside = False
        for listener in listeners:
            listener.leave()


def _inverse(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def inverse(self: TanhTransform, y: Any) -> Any:
        for listener in _thread.listeners:
            listener.inverted(y)
        return method(self, y)

    return inverse


def _from_numpy(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def from_numpy(array: Any) -> Any:
        out = function(array)
        for listener in _thread.listeners:
            listener.from_python(out)
        return out

    return from_numpy


def _subclasses(law: type) -> Iterator[type]:
    subclasses: list[type] = law.__subclasses__()
    for subclass in subclasses:
        yield subclass
        yield from _subclasses(subclass)
