"""Several processes make one estimate: what they exchange, and how.

``distributed=True`` on an objective divides its particles over the ranks of
``torch.distributed``; ``distributed=collectives`` does so over another engine's.
"""

from pgplugins.distributed.collectives import (
    Collectives,
    Distributed,
    TorchCollectives,
)
from pgplugins.distributed.gradients import reduce_gradients

__all__ = [
    "Collectives",
    "Distributed",
    "TorchCollectives",
    "reduce_gradients",
]
