"""What a graph was made for: the arguments of a call, and what the program looks at."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

import numpy as np
import torch
from pyro import poutine
from torch import Tensor, nn
from torch._C._dynamo.guards import TensorGuards
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from pgplugins.errors import InputTypeError


class Call(NamedTuple):
    """The arguments of a call, taken apart.

    Args:
        key: Equal for calls that one graph serves: tensors of the same shapes, strides,
            types and devices, and equal values of everything else.
        tensors: The tensors among the arguments, at any depth.
        rest: All leaves, with a mark in the place of each tensor.
        spec: How the leaves are put together.
    """

    key: Hashable
    tensors: list[Tensor]
    rest: list[Any]
    spec: TreeSpec

    def arguments(
        self, tensors: list[Tensor]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Put the arguments together again, with other tensors."""
        left = iter(tensors)
        leaves = [next(left) if leaf is _TENSOR else leaf for leaf in self.rest]
        args, kwargs = tree_unflatten(leaves, self.spec)
        return args, kwargs


_TENSOR = object()


class _Same:
    """A key for a value that has none: the object itself."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def read(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """Take the arguments of a call apart.

    Example:
        >>> import torch
        >>> one, other = read((torch.ones(3), 0.1), {}), read((torch.zeros(3), 0.1), {})
        >>> one.key == other.key, one.key == read((torch.ones(3), 0.2), {}).key
        (True, False)
    """
    leaves, spec = tree_flatten((args, kwargs))
    tensors: list[Tensor] = []
    rest: list[Any] = []
    parts: list[Hashable] = []
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            tensors.append(leaf)
            rest.append(_TENSOR)
            parts.append(
                (leaf.shape, leaf.stride(), leaf.dtype, leaf.device, leaf.requires_grad)
            )
        elif isinstance(leaf, np.ndarray):
            raise InputTypeError(
                "A NumPy array among the arguments of something compiled would be "
                "taken as it is now, for ever. Write torch.as_tensor(array)."
            )
        else:
            rest.append(leaf)
            parts.append((type(leaf), _key(leaf)))
    return Call((spec, tuple(parts)), tensors, rest, spec)


class Likeness:
    """What code takes for granted of tensors; compared without making lists of it.

    Args:
        tensors: Distinct ones. Others are like them that have their types, shapes,
            strides, devices, and need of a gradient.

    Example:
        >>> import torch
        >>> like = Likeness([torch.ones(3), torch.ones(2, 2)])
        >>> like(torch.zeros(3), torch.zeros(2, 2)), like(torch.zeros(3), 1.0)
        (True, False)
        >>> like(torch.zeros(3), torch.zeros(2, 4)[:, ::2]), like(torch.zeros(3))
        (False, False)
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        """Note what they are like."""
        self._count = len(tensors)
        shapes: list[Any] = [list(tensor.shape) for tensor in tensors]
        strides: list[Any] = [list(tensor.stride()) for tensor in tensors]
        self._check = TensorGuards(
            *tensors, dynamic_dims_sizes=shapes, dynamic_dims_strides=strides
        ).check

    def __call__(self, *values: object) -> bool:
        """Whether values are tensors like them, in their order."""
        if len(values) != self._count:
            return False
        if self._check(*values):
            return True
        if not torch.is_inference_mode_enabled():
            return False
        with torch.inference_mode(False):  # which all tensors look different in
            return bool(self._check(*values))


def _key(value: object) -> Hashable:
    try:
        hash(value)
    except TypeError:
        return _Same(value)
    return value


_Simple = (bool, int, float, str, type(None), Tensor)
_Followed = (FunctionType, MethodType, partial, nn.Module)


class Surroundings:
    """The numbers and tensors that programs take from around them, by name.

    A graph holds the numbers as they were and the tensors themselves, so that a name
    that stands for another one afterwards has to be noticed.

    Args:
        programs: Functions, methods, modules, or handlers around them.
    """

    def __init__(self, *programs: object) -> None:
        """Note what the names stand for."""
        self._names: list[tuple[Mapping[str, Any], str, Any]] = []
        self._cells: list[tuple[CellType, Any]] = []
        seen: set[int] = set()
        for program in programs:
            self._look_at(program, seen)

    @property
    def changed(self) -> bool:
        """Whether a name stands for something else by now."""
        for mapping, name, value in self._names:
            now = mapping.get(name)
            if now is not value and not _equal(now, value):
                return True
        for cell, value in self._cells:
            now = cell.cell_contents
            if now is not value and not _equal(now, value):
                return True
        return False

    def _look_at(self, program: object, seen: set[int]) -> None:
        if id(program) in seen:
            return
        seen.add(id(program))
        if isinstance(program, MethodType):
            self._look_at(program.__self__, seen)
            program = program.__func__
        if isinstance(program, partial):
            self._look_at(program.func, seen)
            return
        if not isinstance(program, FunctionType):
            for name in ("__call__", "forward"):
                method = getattr(type(program), name, None)
                if isinstance(method, FunctionType) and not _is_torchs(method):
                    self._look_at(method, seen)
            inner = poutine.unwrap(program) if callable(program) else program
            if inner is not program:
                self._look_at(inner, seen)
            self._note_attributes(program, seen)
            return
        for cell in program.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
            if isinstance(value, (*_Simple, *_Followed)):
                self._cells.append((cell, value))
            if isinstance(value, _Followed):
                self._look_at(value, seen)
        for name in _names(program.__code__):
            value = program.__globals__.get(name, _TENSOR)
            if isinstance(value, (*_Simple, *_Followed)):
                self._names.append((program.__globals__, name, value))
            elsewhere = getattr(value, "__globals__", program.__globals__)
            if isinstance(value, _Followed) and elsewhere is program.__globals__:
                self._look_at(value, seen)

    def _note_attributes(self, program: object, seen: set[int]) -> None:
        own = getattr(program, "__dict__", None)
        if own is None:
            return
        for name, value in own.items():
            if isinstance(value, _Simple):
                self._names.append((own, name, value))
        if isinstance(program, nn.Module):
            for module in program.modules():
                self._names.append((vars(module), "training", module.training))
                for name, param in module._parameters.items():
                    self._names.append((module._parameters, name, param))


def _equal(one: object, other: object) -> bool:
    return type(one) is type(other) and not isinstance(one, Tensor) and one == other


def _is_torchs(method: FunctionType) -> bool:
    return method.__module__.split(".")[0] in ("torch", "pyro", "pgplugins")


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
