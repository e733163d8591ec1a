"""One call of an objective on all ranks, from its beginning to its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from pgplugins.core.learning import is_tracing
from pgplugins.core.pooling import LOCAL, Pool
from pgplugins.distributed.collectives import Distributed, collectives_of
from pgplugins.distributed.seeds import common_seed
from pgplugins.distributed.shared import SharedPool
from pgplugins.errors import CompileError, DistributedError

NOT_OVER_RANKS: Final = (
    "pg.compile traces what one process does, and with distributed=... ranks exchange "
    "numbers in the middle of a step. Leave either of them out."
)


class Session(NamedTuple):
    """What all ranks have in common during a call.

    Args:
        pool: What they pool through.
        seed: From which they all draw what they draw alike.
        rank: Which one this is.
    """

    pool: SharedPool
    seed: int
    rank: int


@contextmanager
def one_estimate(distributed: Distributed, what: str) -> Iterator[Session | None]:
    """Begin and end a call together; whoever fails on the way tells the others.

    Args:
        distributed: As an objective takes it.
        what: What is estimated, for messages.

    Yields:
        ``None`` in a single process.

    Raises:
        DistributedError: Another rank has failed, is gone, or does something else.
        CompileError: The call is being traced.
    """
    collectives = collectives_of(distributed)
    if collectives is None:
        yield None
        return
    if is_tracing():
        raise CompileError(NOT_OVER_RANKS)
    pool = SharedPool(collectives)
    seed = pool.meet(f"the beginning of {what}", common_seed())[0]
    try:
        yield Session(pool, seed, collectives.rank)
        pool.meet(f"the end of {what}")
    except DistributedError:
        raise  # which the others see as well
    except Exception as error:
        _announce(pool, error)
        raise


def _announce(pool: SharedPool, error: Exception) -> None:
    try:
        pool.announce(error)
    except DistributedError as gone:
        error.add_note(str(gone))


def pool_of(session: Session | None) -> Pool:
    """Return the pool of a session; one process's own if there is none."""
    return LOCAL if session is None else session.pool
