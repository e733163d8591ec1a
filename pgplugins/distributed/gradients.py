"""Gradients added up over ranks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor

from pgplugins.core.pooling import Pool
from pgplugins.distributed.collectives import (
    Distributed,
    check_distributed,
    collectives_of,
)
from pgplugins.distributed.shared import SharedPool
from pgplugins.errors import InputError


def reduce_gradients(
    parameters: Iterable[Tensor],
    op: Literal["mean", "sum"] = "mean",
    *,
    distributed: Distributed = True,
) -> None:
    """Replace the gradients of parameters by their mean, or sum, over ranks.

    For a training loop of one's own, after ``backward()`` and before clipping and the
    optimizer's step. What :class:`torch.nn.parallel.DistributedDataParallel` does along
    the way; ``SVI.step`` needs neither.

    Args:
        parameters: The same ones in the same order on every rank.
        op: ``"mean"`` for the losses of ``pg.ExpectedCost`` and
            ``elbo.differentiable_loss``, which are made for it whatever the ranks'
            shares; ``"sum"`` for ``pg.surrogate``, whose terms are not rescaled.
        distributed: As an objective takes it.

    Raises:
        InputError: ``op`` is neither.
        DistributedError: The ranks' parameters differ, or a rank is gone.

    Example:
        >>> import torch
        >>> weight = torch.ones(2, requires_grad=True)
        >>> weight.sum().backward()
        >>> reduce_gradients([weight], distributed=False)
        >>> weight.grad
        tensor([1., 1.])
    """
    if op not in ("mean", "sum"):
        raise InputError(f"op={op!r}: write 'mean' or 'sum'.")
    check_distributed(distributed)
    collectives = collectives_of(distributed)
    if collectives is None:
        return
    listed = list(parameters)
    sums = summed([p.grad for p in listed], listed, SharedPool(collectives))
    for parameter, total in zip(listed, sums, strict=True):
        if total is not None and op == "mean":
            total = total / collectives.size
        parameter.grad = total


def summed(
    gradients: Sequence[Tensor | None], parameters: Sequence[Tensor], pool: Pool
) -> list[Tensor | None]:
    """Add up gradients over all ranks, in as few operations as there are dtypes.

    A gradient that a rank lacks counts as zero; one that all lack stays ``None``.
    """
    kinds: dict[tuple[torch.dtype, torch.device], list[int]] = defaultdict(list)
    for index, parameter in enumerate(parameters):
        kinds[parameter.dtype, parameter.device].append(index)
    found: list[Tensor | None] = [None] * len(parameters)
    for (dtype, device), members in kinds.items():
        there = [gradients[i] is not None for i in members]
        flat = [torch.tensor(there, dtype=dtype, device=device)]
        for i in members:
            gradient = gradients[i]
            whole = torch.zeros_like(parameters[i]) if gradient is None else gradient
            flat.append((whole.to_dense() if whole.is_sparse else whole).reshape(-1))
        total, _ = pool.total(torch.cat(flat), 1, f"gradients ({dtype})")
        sizes = [part.numel() for part in flat]
        known, *parts = total.split(sizes)
        for i, ranks, part in zip(members, known.tolist(), parts, strict=True):
            if ranks:
                found[i] = part.reshape(parameters[i].shape)
    return found
