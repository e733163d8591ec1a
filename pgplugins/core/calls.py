"""What a torch function does with the values that its tensors hold.

Some calls only ask for metadata, some return shapes that depend on values, some turn a
value into a Python one, and some of those only to check it. Provenance asks here.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
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
        "backward",
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
    }
)


# Conversions that tensors of several elements refuse.
ONE_VALUE = frozenset(
    {"__bool__", "__float__", "__int__", "__index__", "__complex__", "item"}
)

# The functions behind the names in METADATA, as they are met.
metadata_functions: set[object] = set()
_value_dependent: dict[object, bool | None] = {}


def needs_values(func: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Whether the shape of the result depends on the values that went in."""
    known = _value_dependent.get(func, ...)
    if known is ...:
        name = getattr(func, "__name__", "")
        known = None if name == "__getitem__" else name in DATA_DEPENDENT_SHAPE
        _value_dependent[func] = known
    return _indexes_by_mask(args) if known is None else bool(known)


def _indexes_by_mask(args: tuple[Any, ...]) -> bool:
    index = args[1]
    parts = index if isinstance(index, tuple) else (index,)
    return any(
        isinstance(p, Tensor) and p.dtype in (torch.bool, torch.uint8) for p in parts
    )


def name_of(func: Callable[..., Any]) -> str:
    """Return the name of a torch function, or of the property behind it."""
    name: str = getattr(func, "__name__", "")
    if name == "__get__":  # a property such as Tensor.shape
        name = getattr(func.__self__, "__name__", "")  # type: ignore[attr-defined]
    return name


_validation_code: dict[CodeType, bool] = {}


def is_validation(code: CodeType) -> bool:
    """Whether ``code`` only checks a distribution's arguments."""
    known = _validation_code.get(code)
    if known is None:
        path = code.co_filename.replace("\\", "/")
        known = code.co_name in ("__init__", "_validate_sample") and (
            "/torch/distributions/" in path or "/pyro/distributions/" in path
        )
        _validation_code[code] = known
    return known


def is_functional_transform(code: CodeType) -> bool:
    """Whether ``torch.func`` asks: inside its transforms tensors lose their class."""
    return "_functorch" in code.co_filename
