"""What a loss that joins its particles tells each draw."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Credit:
    """What a loss that is no mean over particles says of one draw.

    Args:
        signal: The loss, which every particle has a share in; broadcasts to the draw's
            batch shape, and so do the others.
        others: The loss as the other particles alone suggest it; ``None`` if there are
            no others.
        path_factor: How much more the path counts for than autograd says where it
            carries the direct gradient of the site's own log q as well, which the
            loss counts once.
    """

    signal: Tensor
    others: Tensor | None
    path_factor: Tensor

    def weighing(self, own: float | Tensor) -> Credit:
        """Return the credit of a draw whose own log q counts ``own`` times."""
        return replace(self, path_factor=1 - own * (1 - self.path_factor))
