"""What calls have shown, kept until there is enough of it to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class WaitingCalls(nn.Module):
    """Keeps tensors call by call as they are: cheaper than to learn from each call.

    Example:
        >>> waiting = WaitingCalls()
        >>> waiting.add([torch.ones(4, 2), torch.zeros(4, 2)])
        >>> waiting.add([torch.ones(3, 2), torch.zeros(3, 2)])
        >>> parts, sizes = waiting.take()
        >>> tuple(parts.shape), sizes, waiting.rows
        ((2, 7, 2), [4, 3], 0)
    """

    parts: Tensor | None
    sizes: Tensor | None

    def __init__(self) -> None:
        """Start with none."""
        super().__init__()
        # Made for a checkpoint alone.
        self.register_buffer("parts", None)
        self.register_buffer("sizes", None)
        self._calls: list[Sequence[Tensor]] = []
        self.rows = 0
        """How many rows wait."""

    @property
    def calls(self) -> int:
        """How many calls wait."""
        return len(self._calls)

    def add(self, parts: Sequence[Tensor]) -> None:
        """Keep what a call has shown, and forget calls that had another width.

        Args:
            parts: Detached, each of shape ``(rows, width)``.
        """
        if self._calls and self._calls[0][0].shape[1] != parts[0].shape[1]:
            self._calls, self.rows = [], 0
        self._calls.append(parts)
        self.rows += parts[0].shape[0]

    def take(self) -> tuple[Tensor, list[int]]:
        """Return what waits, and let nothing wait.

        Returns:
            The parts, shape ``(parts, rows, width)``, in double precision; and how many
            rows each call had.
        """
        parts, sizes = self._joined()
        self._calls, self.rows = [], 0
        return parts.double(), sizes

    def _joined(self) -> tuple[Tensor, list[int]]:
        sizes = [parts[0].shape[0] for parts in self._calls]
        parts = zip(*self._calls, strict=True)
        return torch.stack([torch.cat(part) for part in parts]), sizes

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        if self._calls:
            self.parts, sizes = self._joined()
            self.sizes = torch.tensor(sizes)
        super()._save_to_state_dict(*args, **kwargs)
        self.parts = self.sizes = None

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any
    ) -> None:
        self._calls, self.rows = [], 0
        parts, sizes = (state_dict.get(prefix + name) for name in ("parts", "sizes"))
        self.parts, self.sizes = parts, sizes  # what is there is expected
        super()._load_from_state_dict(dict(state_dict), prefix, *args)
        self.parts = self.sizes = None
        if parts is not None and sizes is not None:
            for call in parts.clone().split(sizes.tolist(), 1):
                self.add(call.unbind())
