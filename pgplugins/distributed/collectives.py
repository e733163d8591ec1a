"""The two collective operations that everything here is made of, and torch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from pgplugins.errors import DistributedError, InputTypeError

if torch.distributed.is_available():
    # Before there is a group: its functions keep the group that they find as a default
    # argument, past destroy_process_group, and an optimizer imports it sooner or later.
    # Gloo's threads then outlive the interpreter and abort the process at times.
    import torch.distributed.nn


@runtime_checkable
class Collectives(Protocol):
    """What an engine (MPI, Horovod, Ray) has to offer, as one of its ranks sees it.

    All ranks call the same methods in the same order. A rank that has gone makes the
    others' calls raise, in bounded time.

    Example:
        >>> class OneRank:
        ...     rank, size = 0, 1
        ...
        ...     def all_reduce(self, tensor):
        ...         return tensor
        ...
        ...     def all_gather(self, tensor):
        ...         return [tensor]
        >>> isinstance(OneRank(), Collectives)
        True
    """

    @property
    def rank(self) -> int:
        """Which of the ranks this process is, from 0."""

    @property
    def size(self) -> int:
        """How many ranks there are."""

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum over ranks of tensors of one shape, the same on all."""

    def all_gather(self, tensor: Tensor) -> Sequence[Tensor]:
        """Return the tensors of all ranks, of one shape, in the order of the ranks."""


Distributed = bool | Collectives
"""What ``distributed=`` takes."""


class TorchCollectives:
    """The collectives of a process group of :mod:`torch.distributed`.

    Tensors stay on their device where the group's backend can work there, and travel
    through one where it can elsewhere.

    Args:
        group: The process group; the default one if ``None``.

    Raises:
        DistributedError: There is no process group.

    Example:
        >>> TorchCollectives()
        Traceback (most recent call last):
            ...
        pgplugins.errors.DistributedError: distributed=True needs a process group...
    """

    def __init__(self, group: torch.distributed.ProcessGroup | None = None) -> None:
        """Look at the group."""
        there = torch.distributed.is_available()
        if not there or not torch.distributed.is_initialized():
            raise DistributedError(
                "distributed=True needs a process group, and there is none. Start the "
                "program by torchrun and call "
                'torch.distributed.init_process_group("gloo") first ("nccl" on GPUs), '
                "or pass another engine's collectives: distributed=collectives."
            )
        self._group = group
        self.rank: int = torch.distributed.get_rank(group)
        self.size: int = torch.distributed.get_world_size(group)
        # Such as "cpu:gloo,cuda:nccl".
        backends = torch.distributed.get_backend_config(group).split(",")
        # Gloo does not gather on GPUs, whatever it says.
        self._devices = [
            device
            for device, name in (backend.split(":") for backend in backends)
            if name != "gloo" or device == "cpu"
        ]

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum over ranks."""
        sent = self._reachable(tensor).clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(sent, group=self._group)
        return sent.to(tensor.device)

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors of all ranks."""
        sent = self._reachable(tensor).contiguous()
        received = [torch.empty_like(sent) for _ in range(self.size)]
        torch.distributed.all_gather(received, sent, group=self._group)
        return [part.to(tensor.device) for part in received]

    def _reachable(self, tensor: Tensor) -> Tensor:
        """Return the tensor on a device that the group's backend knows."""
        tensor = tensor.detach()
        if tensor.device.type in self._devices:
            return tensor
        return tensor.to(self._devices[0])


def check_distributed(distributed: object) -> None:
    """Raise unless ``distributed`` is True, False or an engine's collectives.

    Raises:
        InputTypeError: Saying what an engine's collectives are.

    Example:
        >>> check_distributed("nccl")
        Traceback (most recent call last):
            ...
        pgplugins.errors.InputTypeError: distributed='nccl': write True (for the ...
    """
    if not isinstance(distributed, (bool, Collectives)):
        raise InputTypeError(
            f"distributed={distributed!r}: write True (for the default process group "
            "of torch.distributed), or an object with rank, size, all_reduce and "
            "all_gather, such as pgplugins.distributed.TorchCollectives(group)."
        )


def collectives_of(distributed: Distributed) -> Collectives | None:
    """Return the collectives to use; ``None`` if there is nothing to exchange.

    Raises:
        DistributedError: There is no process group.
    """
    if distributed is False:
        return None
    collectives = TorchCollectives() if distributed is True else distributed
    assert isinstance(collectives, Collectives)
    return None if collectives.size == 1 else collectives
