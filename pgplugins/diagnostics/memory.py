"""How much memory a gradient step takes, counted alike on every machine."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


def peak_memory(step: Callable[[], object]) -> int:
    """Run a step and return the most bytes that its tensors held at one time.

    Counted are the storages that torch's operations make during the step, each once
    however many views it has, from the operation that makes it until it is freed. Not
    counted are tensors that were there before (parameters, data, what estimators have
    learnt), scratch space inside one operation, what an allocator rounds up or keeps,
    and what Python, NumPy or a compiled graph holds. Python's collector of cycles rests
    meanwhile, so that the count does not depend on when it would run.

    Args:
        step: What to run, with its backward pass.

    Returns:
        A number of bytes.

    Example:
        >>> import torch
        >>> x = torch.ones(1000, dtype=torch.float64)
        >>> peak_memory(lambda: x.exp() + 1)  # two of 8,000 bytes, then one
        16000
    """
    storages, collects = _Storages(), gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        with storages:
            step()
    finally:
        if collects:
            gc.enable()
    return storages.peak


class _Storages(TorchDispatchMode):
    """Follows the storages that operations make, in the backward pass as well."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._live = 0
        self._known = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        for storage in _storages((args, kwargs)):
            # One that no operation has made here was there before.
            self._known.setdefault(storage, True)
        made = func(*args, **kwargs)
        for storage in _storages(made):
            if storage not in self._known:
                self._known[storage] = True
                size = storage.nbytes()
                self._live += size
                weakref.finalize(storage, self._free, size)
        self.peak = max(self.peak, self._live)
        return made

    def _free(self, size: int) -> None:
        self._live -= size


def _storages(tree: Any) -> Iterator[torch.UntypedStorage]:
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tensor) and leaf.layout is torch.strided:
            yield leaf.untyped_storage()
