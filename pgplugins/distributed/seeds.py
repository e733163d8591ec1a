"""Random numbers that all ranks draw alike, and those that each draws for itself."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_STRIDE = 0x9E3779B1  # odd, so that no two ranks share a seed


def common_seed() -> int:
    """Take a seed from torch's generator, which all ranks have in lockstep."""
    return int(torch.randint(2**32, (), device="cpu"))


def seed_of(seed: int, rank: int) -> int:
    """Return the seed of one rank.

    Example:
        >>> seed_of(3, 0), seed_of(3, 1)
        (3, 2654435764)
    """
    return (seed + rank * _STRIDE) % 2**32


@contextmanager
def seeded(seed: int, name: str = "") -> Iterator[None]:
    """Draw from generators of a seed of their own; those outside do not move.

    All that ``pyro.set_rng_seed`` seeds: torch's on every device in use, NumPy's and
    Python's.

    Args:
        seed: From 0 to 2^32 - 1.
        name: Draws of another name are others.

    Example:
        >>> with seeded(7):
        ...     first = torch.rand(3)
        >>> with seeded(7):
        ...     print(torch.rand(3).equal(first))
        True
    """
    if name:
        seed = (seed + zlib.crc32(name.encode())) % 2**32
    # Seeding a device that is not in use yet would outlast the restoring.
    in_use = torch.cuda.is_available() and torch.cuda.is_initialized()
    devices = range(torch.cuda.device_count()) if in_use else range(0)
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(seed)
        if in_use:
            torch.cuda.manual_seed_all(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
