"""A watch over one run of a program: it sees what tensor subclasses are not shown.

Torch asks a tensor subclass about most of the calls that it is an argument of, and
:class:`~pgplugins.core.provenance.Tracked` passes its sources on there. Some calls do
not ask: those that read a tensor where they expect a number (``torch.full((), z)``,
``alpha=z``, a size, a position), compiled functions (``torch.jit.script``), whatever
``torch.func`` has wrapped, and assignments such as ``buffer.data = z``. There the
sources are lost, so under the watch they escape. No function is listed: whatever takes
a tracked tensor in and does not give its sources out lets them escape.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from pgplugins.core.calls import (
    is_index,
    is_metadata,
    is_validation,
    name_of,
    needs_values,
)
from pgplugins.core.provenance import Tracked, sources_of_value, tracked_parts
from pgplugins.core.tracker import Sources, Tracker
from pgplugins.errors import ProgramError

# The level of the innermost torch.func transform that is running, or None.
_transform_level = torch._C._functorch.maybe_current_level
_subclasses_are_asked = torch._C._is_torch_function_enabled


class Watch:
    """Lets escape what a program does with tracked values out of their sight.

    It has to be entered around the whole run: a program may enter modes of its own, and
    modes nest.

    Example:
        >>> from pgplugins.core.provenance import track
        >>> tracker = Tracker()
        >>> z = track(torch.tensor(1.0), tracker, tracker.source("z"))
        >>> torch.full((), z), tracker.names_of(tracker.escaped)
        (tensor(1.), [])
        >>> with Watch(tracker):
        ...     torch.full((), z), tracker.names_of(tracker.escaped)
        (tensor(1.), ['z'])
    """

    def __init__(self, tracker: Tracker) -> None:
        """Watch over the run of ``tracker``."""
        self._kernels = _Kernels(tracker)
        self._calls = _Calls(tracker, self._kernels)
        self._entered = ExitStack()

    @property
    def values_were_read(self) -> bool:
        """Whether the value of any tensor, tracked or not, was turned into Python's."""
        return self._calls.read

    def __enter__(self) -> Watch:
        """Start to watch."""
        self._entered.enter_context(self._kernels)
        self._entered.enter_context(self._calls)
        return self

    def __exit__(self, *error: object) -> None:
        """Stop watching.

        Raises:
            ProgramError: What escaped inside torch has several rows.
        """
        self._entered.close()
        if self._kernels.refusal is not None:
            raise self._kernels.refusal


class _Calls(TorchFunctionMode):
    """Sees the calls of torch's Python functions, also those that ask no subclass."""

    def __init__(self, tracker: Tracker, kernels: _Kernels) -> None:
        super().__init__()
        self.tracker = tracker
        self.kernels = kernels
        self.read = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if not _subclasses_are_asked():  # the library knows the sources of the result
            return func(*args, **kwargs) if kwargs else func(*args)
        self.kernels.number_read = False
        out = func(*args, **kwargs) if kwargs else func(*args)
        if self.read and self.tracker.escaped == self.tracker.everything:
            return out  # nothing is left to be found
        if Tracked in types:
            self._check_reach(func, args, kwargs)
        else:
            self._check_result(func, args, kwargs, out)
        kind = type(out)
        if kind is Tensor or kind is Tracked:
            self.read = self.read or needs_values(func, args, kwargs)
        elif not self.read:
            self.read = _is_value(out, func, args) and not is_validation(
                sys._getframe(1)
            )
        return out

    def _check_reach(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
    ) -> None:
        """Look for ways around a call that tracked values have gone through."""
        if _transform_level() is not None:
            # What torch.func wraps loses its class when it is unwrapped again.
            self._escape(_sources_in(args, kwargs), func)
        for arg in (*args, *kwargs.values()) if kwargs else args:
            if isinstance(arg, _FUNCTIONS) and not is_metadata(func):
                # It ran where nothing is tracked, on whatever it holds.
                self._escape(self.tracker.everything, func)
        if self.kernels.number_read and not is_index(func):
            # A tracked size, say; where it is a position, the result knows it.
            if not is_validation(sys._getframe(2)):
                self._escape(_sources_in(args, kwargs), func)

    def _check_result(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        out: Any,
    ) -> None:
        """Let the sources of a call escape that no tracked value was asked about."""
        sources = _sources_in(args, kwargs)
        if not sources or is_metadata(func):
            return
        # A setter changes its first argument.
        missing = sources & ~_sources_of_all(args[0] if out is None and args else out)
        if missing and not is_validation(sys._getframe(2)):
            self._escape(missing, func)

    def _escape(self, sources: Sources, func: Callable[..., Any]) -> None:
        self.tracker.escape(sources, hidden_in=_described(func))


class _Kernels(TorchDispatchMode):
    """Sees the operations on memory, whatever has started them."""

    supports_higher_order_operators = True

    def __init__(self, tracker: Tracker) -> None:
        torch_mode: Any = super()  # torch does not say its types
        torch_mode.__init__()
        self.tracker = tracker
        self.number_read = False
        """Whether a tracked integer was read in a call that was asked about."""
        self.refusal: ProgramError | None = None
        """Raised when the run is over: torch's compiled code garbles errors."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Spare every operation a guard against compilers, which would load them."""
        return False

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let ``torch.compile`` do what it does outside the watch."""
        return True

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        tracker = self.tracker
        if tracker.escaped != tracker.everything:
            sources = _sources_in(args, kwargs)
            if sources:
                self._check(func, args, sources)
        if type(func) is not OpOverload:
            return func(*args, **(kwargs or {}))  # it may call the program's functions
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs) if kwargs else func(*args)

    def _check(self, func: Any, args: tuple[Any, ...], sources: Sources) -> None:
        """Find out whether what reads tracked values may do so."""
        declared = self.tracker.declared
        if _subclasses_are_asked():
            self._escape(sources, func)
        elif declared is not None and sources & ~declared:
            # A distribution holds on to a draw where nobody looks.
            self.tracker.declared = declared | sources
            self._escape(sources, func)
        elif func is _READ and not args[0].is_floating_point():
            self.number_read = True

    def _escape(self, sources: Sources, func: Callable[..., Any]) -> None:
        try:
            self.tracker.escape(sources, hidden_in=_described(func))
        except ProgramError as error:
            self.refusal = self.refusal or error


_READ = torch.ops.aten._local_scalar_dense.default
_FUNCTIONS = (FunctionType, MethodType, torch.nn.Module)
_NO_VALUES = (
    type(None),
    torch.Size,
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
    torch.Generator,
)


def _is_value(out: Any, func: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Whether a result that is no tensor depends on the values of tensors."""
    if isinstance(out, (Tensor, *_NO_VALUES)):
        return False
    if isinstance(out, (tuple, list)) and any(isinstance(o, Tensor) for o in out):
        return needs_values(func, args, None) or name_of(func) == "where"
    return not is_metadata(func)


def _described(func: Callable[..., Any]) -> str:
    return f"torch's {name_of(func)!r}"


def _sources_in(args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Sources:
    sources = 0
    for arg in args:
        kind = type(arg)
        if kind is Tracked:
            sources |= sources_of_value(arg)
        elif kind is not Tensor and isinstance(arg, (tuple, list, dict)):
            for part in tracked_parts(arg):
                sources |= part._sources
    if kwargs:
        for part in tracked_parts(kwargs):
            sources |= part._sources
    return sources


def _sources_of_all(value: Any) -> Sources:
    """Sources that every tensor in a value has."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)) and value:
        common = ~0
        for part in value:
            common &= _sources_of_all(part)
        return common
    return sources_of_value(value)
