"""What a torch function does with the values that its tensors hold.

Some calls only ask for metadata, some return shapes that depend on values, some turn a
value into a Python one, and some of those only to check it. Provenance asks here.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor

# Queries whose answer does not depend on the values that a tensor holds.
METADATA = frozenset(
    {
        "shape",
        "size",
        "dim",
        "ndim",
        "ndimension",
        "numel",
        "nelement",
        "stride",
        "dtype",
        "device",
        "layout",
        "requires_grad",
        "is_leaf",
        "grad_fn",
        "names",
        "is_floating_point",
        "is_complex",
        "is_signed",
        "is_contiguous",
        "is_sparse",
        "is_quantized",
        "is_meta",
        "is_cuda",
        "is_mps",
        "is_nested",
        "is_neg",
        "is_conj",
        "is_inference",
        "is_same_size",
        "itemsize",
        "element_size",
        "get_device",
        "_version",
        "_backward_hooks",
        "retains_grad",
        "output_nr",
        "__len__",
        "__hash__",
        "__dir__",
        "result_type",
        "can_cast",
        "broadcast_shapes",
        "register_hook",
        "requires_grad_",
        "retain_grad",
    }
)
# Operations whose result's shape depends on the values that go in.
DATA_DEPENDENT_SHAPE = frozenset(
    {
        "nonzero",
        "argwhere",
        "masked_select",
        "unique",
        "unique_consecutive",
        "unique_dim",
        "_unique2",
        "bincount",
        "repeat_interleave",
        "histc",
        "tensor_split",
        "to_sparse",
        "coalesce",
        "_pack_padded_sequence",
        "_pad_packed_sequence",
    }
)

# Results that share memory with their input, though torch does not call them views.
_ALIASES = frozenset({"detach", "data"})

_COMPARISONS = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})

# Conversions that tensors of several elements refuse.
ONE_VALUE = frozenset(
    {"__bool__", "__float__", "__int__", "__index__", "__complex__", "item"}
)

# The functions behind the names in METADATA, as they are met.
metadata_functions: set[object] = set()
_ORDINARY, _SHAPE, _INDEX, _CLASSES, _ALIAS, _COMPARISON = range(6)
_kinds: dict[object, int] = {}


def needs_values(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None
) -> bool:
    """Whether the shape of the result depends on the values that went in."""
    kind = kind_of(func)
    return (
        kind == _SHAPE
        or (kind == _INDEX and _indexes_by_mask(args))
        or (kind == _CLASSES and len(args) < 2 and not kwargs)
    )


def is_index(func: Callable[..., Any]) -> bool:
    """Whether a function takes elements at positions."""
    return kind_of(func) == _INDEX


def is_alias(func: Callable[..., Any]) -> bool:
    """Whether the result shares memory with the input and does not say so."""
    return kind_of(func) == _ALIAS


def is_comparison(func: Callable[..., Any]) -> bool:
    """Whether a function compares elements."""
    return kind_of(func) == _COMPARISON


def kind_of(func: Callable[..., Any]) -> int:
    """Return what is special about the results of a function, 0 for nothing."""
    kind = _kinds.get(func)
    if kind is None:
        name = name_of(func)
        if name in DATA_DEPENDENT_SHAPE:
            kind = _SHAPE
        elif name in ("__getitem__", "index"):
            kind = _INDEX
        elif name == "one_hot":
            kind = _CLASSES
        elif name in _ALIASES or name.startswith("unsafe_"):
            kind = _ALIAS
        elif name.strip("_") in _COMPARISONS:
            kind = _COMPARISON
        else:
            kind = _ORDINARY
        _kinds[func] = kind
    return kind


def _indexes_by_mask(args: tuple[Any, ...]) -> bool:
    index = args[1]
    parts = index if isinstance(index, (tuple, list)) else (index,)
    return any(
        isinstance(p, Tensor) and p.dtype in (torch.bool, torch.uint8) for p in parts
    )


def name_of(func: Callable[..., Any]) -> str:
    """Return the name of a torch function, or of the property behind it."""
    name: str = getattr(func, "__name__", "")
    if name == "__get__":  # a property such as Tensor.shape
        name = getattr(func.__self__, "__name__", "")  # type: ignore[attr-defined]
    return name.partition(".")[0]  # torch.ops.aten.add_.Tensor is add_


def changes_in_place(func: Callable[..., Any]) -> bool:
    """Whether a function writes into its first argument and returns it."""
    name = name_of(func)
    return name.startswith("__i") or (name.endswith("_") and name[-2:] != "__")


def is_metadata(func: Callable[..., Any]) -> bool:
    """Whether the answer of a function is independent of the values of tensors."""
    if func in metadata_functions:
        return True
    if name_of(func) not in METADATA:
        return False
    metadata_functions.add(func)
    return True


_DISTRIBUTIONS = ("/torch/distributions/", "/pyro/distributions/")
_named_code: dict[tuple[CodeType, bool], bool] = {}


def is_validation(frame: FrameType | None) -> bool:
    """Whether a torch function is called only to check a distribution's arguments.

    Args:
        frame: What called it. Modes that the call went through are looked past.
    """
    while frame is not None and frame.f_code.co_name == "__torch_function__":
        frame = frame.f_back
    return frame is not None and _is_part_of(frame.f_code, checks=False)


def is_constraint_check(frame: FrameType | None) -> bool:
    """Whether a comparison is a constraint's, which checks a distribution's arguments.

    Args:
        frame: What called it. Modes that the call went through are looked past.
    """
    while frame is not None and frame.f_code.co_name == "__torch_function__":
        frame = frame.f_back
    if frame is None or not _is_part_of(frame.f_code, checks=True):
        return False
    while frame is not None and _is_part_of(frame.f_code, checks=True):
        frame = frame.f_back
    return is_validation(frame)


def _is_part_of(code: CodeType, *, checks: bool) -> bool:
    """Whether code is a constraint's ``check``, or what a distribution validates by."""
    known = _named_code.get((code, checks))
    if known is None:
        names = ("check",) if checks else ("__init__", "_validate_sample")
        path = code.co_filename.replace("\\", "/")
        known = code.co_name in names and any(part in path for part in _DISTRIBUTIONS)
        _named_code[code, checks] = known
    return known
