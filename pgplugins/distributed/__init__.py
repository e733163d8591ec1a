"""Several processes make one estimate: what they exchange, and how.

``distributed=True`` on an objective divides its particles over the ranks of
``torch.distributed``; ``distributed=collectives`` does so over another engine's.
"""

from pgplugins.distributed.collectives import (
    Collectives,
    Distributed,
    TorchCollectives,
    check_distributed,
    collectives_of,
)
from pgplugins.distributed.gradients import reduce_gradients
from pgplugins.distributed.session import one_estimate
from pgplugins.distributed.shared import SharedPool

__all__ = [
    "Collectives",
    "Distributed",
    "SharedPool",
    "TorchCollectives",
    "check_distributed",
    "collectives_of",
    "one_estimate",
    "reduce_gradients",
]
