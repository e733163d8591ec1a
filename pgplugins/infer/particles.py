"""How an objective's particles run: side by side, in chunks, or one after another."""

from __future__ import annotations

from typing import Any, NamedTuple

from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from pgplugins.core.numbers import positive_integer
from pgplugins.core.pooling import Pool
from pgplugins.errors import InputError


class Turn(NamedTuple):
    """One of the runs that an estimate takes.

    Args:
        pool: The processes that share it.
        side_by_side: How many particles it has in their plate; ``None`` if it is one
            particle, without a plate.
    """

    pool: Pool
    side_by_side: int | None


def turns(
    particles: int, pool: Pool, *, vectorized: bool, chunk_size: int | None
) -> list[Turn]:
    """Divide particles over the runs of this process.

    Chunks are as even as they can be, and there are as many of them on every rank.

    Args:
        particles: Those of all ranks together.
        pool: The ranks.
        vectorized: Whether they run side by side.
        chunk_size: How many at most; ``None`` for all.

    Example:
        >>> from pgplugins.core.pooling import LOCAL
        >>> [t.side_by_side for t in turns(17, LOCAL, vectorized=True, chunk_size=8)]
        [6, 6, 5]
    """
    if not vectorized or particles == 1:
        return [Turn(turn, None) for turn in pool.turns(particles)]
    own = pool.share(particles)
    chunks = (
        1 if chunk_size is None else -(-pool.largest_share(particles) // chunk_size)
    )
    return [Turn(pool, own // chunks + (i < own % chunks)) for i in range(chunks)]


def check_chunk_size(chunk_size: object, particles: int, *, vectorized: bool) -> None:
    """Raise unless particles can be run in chunks of at most ``chunk_size``.

    Raises:
        InputError: Saying what to write instead.

    Example:
        >>> check_chunk_size(2, 5, vectorized=True)
        Traceback (most recent call last):
            ...
        pgplugins.errors.InputError: chunk_size=2 leaves one of 5 particles alone...
    """
    if chunk_size is None:
        return
    positive_integer(chunk_size, "chunk_size")
    if not vectorized:
        raise InputError(
            f"chunk_size={chunk_size} is how many particles run side by side, and "
            "vectorize_particles=False runs them one after another. Write "
            "vectorize_particles=True, or leave chunk_size out."
        )
    if chunk_size == 1 and particles > 1:
        raise InputError(
            "chunk_size=1 runs particles one after another, without others that a "
            "baseline could compare them with. Write vectorize_particles=False if that "
            "is what you want, or chunk_size=2 or more."
        )
    if chunk_size == 2 and particles % 2 and particles > 1:
        raise InputError(
            f"chunk_size=2 leaves one of {particles} particles alone, without others "
            "that a baseline could compare it with. Write chunk_size=3, or an even "
            "number of particles."
        )


class SameSubsamples(Messenger):
    """Shows all chunks of an estimate the subsamples that the first has drawn.

    Particles side by side see one subsample, and so do those in chunks.
    """

    def __init__(self) -> None:
        """Start without any."""
        super().__init__()
        self._drawn: dict[str, Any] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["value"] is None and _is_drawn(msg):
            msg["value"] = self._drawn.get(msg["name"])

    def _pyro_post_sample(self, msg: Any) -> None:
        if _is_drawn(msg):
            self._drawn.setdefault(msg["name"], msg["value"])


def _is_drawn(msg: Any) -> bool:
    """Whether a site is a subsample, and not a whole plate, whose size may differ."""
    if not site_is_subsample(msg):
        return False
    fn = msg["fn"]
    return fn.subsample_size is not None and fn.subsample_size < fn.size
