"""Measuring without leaving a trace behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyro
import torch
from pyro.util import get_rng_state, set_rng_state

from pgplugins.core.numbers import random_seed


@contextmanager
def tidy_store() -> Iterator[None]:
    """Take networks of neural baselines out of Pyro's parameter store again."""
    store = pyro.get_param_store()
    before = set(store)
    try:
        yield
    finally:
        for name in set(store) - before:
            # The guide's own parameters, met for the first time, are there to stay.
            if name.startswith("pgplugins."):
                del store[name]


@contextmanager
def random_stream(seed: int | None) -> Iterator[None]:
    """Draw from a stream of our own if there is a seed, else from the caller's.

    Raises:
        InputError: ``seed`` is no seed.
    """
    if seed is None:
        yield
        return
    random_seed(seed)
    state = get_rng_state()
    with torch.random.fork_rng():
        pyro.set_rng_seed(seed)
        try:
            yield
        finally:
            set_rng_state(state)
