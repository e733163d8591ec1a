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
        Two ranks that are threads; the library needs no more to add up gradients:

        >>> import torch
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> from threading import Barrier
        >>> class Thread:
        ...     size, barrier, sent = 2, Barrier(2), [None, None]
        ...
        ...     def __init__(self, rank):
        ...         self.rank = rank
        ...
        ...     def all_gather(self, tensor):
        ...         self.sent[self.rank] = tensor
        ...         self.barrier.wait(10)
        ...         gathered = list(self.sent)
        ...         self.barrier.wait(10)
        ...         return gathered
        ...
        ...     def all_reduce(self, tensor):
        ...         return torch.stack(self.all_gather(tensor)).sum(0)
        >>> def gradient(rank):
        ...     weight = torch.ones(2, requires_grad=True)
        ...     (weight * (rank + 1)).sum().backward()  # 1 on rank 0, 2 on rank 1
        ...     reduce_gradients([weight], distributed=Thread(rank))
        ...     return weight.grad * Thread.size  # the mean over ranks, and the sum
        >>> from pgplugins.distributed import reduce_gradients
        >>> with ThreadPoolExecutor(2) as pool:
        ...     list(pool.map(gradient, range(2)))
        [tensor([3., 3.]), tensor([3., 3.])]
    """

    @property
    def rank(self) -> int:
        """Which of the ranks this process is, from 0 on."""

    @property
    def size(self) -> int:
        """How many ranks there are."""

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum over ranks, the same on all.

        Args:
            tensor: Of one shape and dtype on all ranks; left as it is.

        Returns:
            The sum, shape and device of ``tensor``.
        """

    def all_gather(self, tensor: Tensor) -> Sequence[Tensor]:
        """Return the tensors of all ranks, in the order of the ranks.

        Args:
            tensor: Of one shape and dtype on all ranks.

        Returns:
            As many tensors as there are ranks, each of shape and device of ``tensor``.
        """


Distributed = bool | Collectives
"""What ``distributed=`` takes: True for the default process group, or collectives."""


class TorchCollectives:
    """The collectives of a process group of :mod:`torch.distributed`.

    Tensors stay on their device where the group's backend can work there, and travel
    through one where it can elsewhere.

    Args:
        group: The process group; the default one if ``None``.

    Raises:
        DistributedError: There is no process group.

    Attributes:
        rank: Which of the group's ranks this process is, from 0 on.
        size: How many ranks the group has.

    Example:
        >>> import torch
        >>> TorchCollectives()
        Traceback (most recent call last):
            ...
        pgplugins.errors.DistributedError: distributed=True needs a process group...

        A group of this process alone; under ``torchrun`` leave the options out.

        >>> import torch.distributed as td
        >>> td.init_process_group("gloo", store=td.HashStore(), rank=0, world_size=1)
        >>> collectives = TorchCollectives()
        >>> collectives.rank, collectives.size
        (0, 1)
        >>> collectives.all_reduce(torch.tensor([2.0]))
        tensor([2.])
        >>> collectives.all_gather(torch.tensor([2.0]))
        [tensor([2.])]
        >>> td.destroy_process_group()
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
        """Return the sum over ranks.

        Args:
            tensor: Of one shape and dtype on all ranks; left as it is.

        Returns:
            The sum, shape and device of ``tensor``, detached.
        """
        sent = self._reachable(tensor).clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(sent, group=self._group)
        return sent.to(tensor.device)

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors of all ranks.

        Args:
            tensor: Of one shape and dtype on all ranks.

        Returns:
            As many tensors as there are ranks, each of shape and device of ``tensor``.
        """
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
