"""A pool over several ranks, which notices when they do not go together."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from pgplugins.core.algebra import zero_valued
from pgplugins.core.pooling import Pool
from pgplugins.distributed.collectives import Collectives
from pgplugins.errors import DistributedError

T = TypeVar("T")

_TEXT = 512  # bytes of a message that ranks tell one another
_ALIKE = 1e-5  # relative; ranks of different hardware may round differently


@dataclass(frozen=True)
class SharedPool(Pool):
    """Pools over the ranks of a set of collectives.

    Every operation begins with a header in which the ranks tell one another what they
    are about to pool. Ranks that have parted (another site, another shape) all raise
    then, instead of mixing up numbers or waiting for one another; so do all if one has
    announced that it failed.

    Args:
        collectives: What the engine offers.
        place: Where in the program it is, for messages.
        counts: As in :class:`~pgplugins.core.pooling.Pool`.
    """

    collectives: Collectives
    place: str = ""
    counts: bool = True

    def at(self, site: str) -> SharedPool:
        """Return the pool for a site."""
        return replace(self, place=f" at site {site!r}")

    def share(self, particles: int) -> int:
        """As evenly as possible, and more on the first ranks."""
        size, rank = self.collectives.size, self.collectives.rank
        return particles // size + (rank < particles % size)

    def largest_share(self, particles: int) -> int:
        """Rank 0's."""
        return -(-particles // self.collectives.size)

    def turns(self, particles: int) -> list[Pool]:
        """One for each of its share; one more that does not count if others have it."""
        own, most = self.share(particles), self.largest_share(particles)
        turns: list[Pool] = [self] * own
        return turns + [replace(self, counts=False)] * (most - own)

    def total(self, value: Tensor, count: int, what: str) -> tuple[Tensor, int]:
        """Add up over all ranks."""
        value = value.detach()
        if not self.counts:
            value, count = torch.zeros_like(value), 0
        counts = self._agree(what, [value], value.shape, count)
        total = self._exchange(what, lambda: self.collectives.all_reduce(value))
        return total, sum(counts)

    def around(self, rows: Tensor, what: str) -> tuple[Tensor, Tensor]:
        """Return the rows of the ranks before this one, and of those after it."""
        pieces = self._pieces(rows.detach(), what)
        rank, none = self.collectives.rank, [rows[:0].detach()]
        return torch.cat(none + pieces[:rank]), torch.cat(none + pieces[rank + 1 :])

    def rows(self, parts: Sequence[Tensor], what: str) -> Sequence[Tensor]:
        """Join the rows of all ranks."""
        widths = [part.shape[1] for part in parts]
        joined = parts[0] if len(parts) == 1 else torch.cat(list(parts), 1)
        everyones = torch.cat(self._pieces(joined.detach(), what)).split(widths, 1)
        return [own.to(part.dtype) for own, part in zip(everyones, parts, strict=True)]

    def _pieces(self, rows: Tensor, what: str) -> list[Tensor]:
        """Return the rows of every rank."""
        if not self.counts:
            rows = rows[:0]
        counts = self._agree(what, [rows], rows.shape[1:], len(rows))
        if max(counts) == 0:
            return [rows for _ in counts]
        missing = rows.new_zeros(max(counts) - len(rows), *rows.shape[1:])
        sent = torch.cat([rows, missing])
        received = self._exchange(what, lambda: self.collectives.all_gather(sent))
        return [part[:n] for part, n in zip(received, counts, strict=True)]

    def estimate(self, share: Tensor, what: str) -> Tensor:
        """Make a loss of the ranks' shares."""
        value, _ = self.total(share, 1, what)
        return value + zero_valued(share) * self.collectives.size

    def portion(self, loss: Tensor) -> Tensor:
        """Divide the value, and leave the gradient."""
        return loss.detach() / self.collectives.size + zero_valued(loss)

    def meet(self, what: str, number: int = 0) -> list[int]:
        """Wait for all ranks to come here, and return every rank's number.

        Raises:
            DistributedError: A rank has failed, is gone, or is somewhere else.
        """
        return self._agree(what, [], (), number)

    def union(self, names: Sequence[str], what: str) -> list[str]:
        """Join the names that any rank has, sorted; an exchange of numbers if alike."""
        own = "\n".join(names)
        digest = _digest(own)
        if all(number == digest for number in self.meet(what, digest)):
            return list(names)
        written = torch.tensor(list(own.encode()), dtype=torch.uint8)
        texts = [bytes(p.tolist()).decode() for p in self._pieces(written, what)]
        return sorted({name for text in texts for name in text.split("\n") if name})

    def require_alike(self, things: Mapping[str, Sequence[Tensor]], what: str) -> None:
        """Raise unless things that all ranks compute alike are so, up to rounding.

        Args:
            things: By name, all ranks the same names in the same order; their tensors.
            what: What they are.

        Raises:
            DistributedError: Naming the thing that differs, and how.
        """
        norms = [_norm(tensors) for tensors in things.values()]
        own = torch.tensor(norms, dtype=torch.float64)
        everyones = self._pieces(own.unsqueeze(0), f"a check of {what} {list(things)}")
        for name, found in zip(things, torch.cat(everyones).unbind(1), strict=True):
            if not torch.allclose(found, found[:1], _ALIKE, 0.0, equal_nan=True):
                raise DistributedError(
                    f"{what} {name!r} differs between ranks: its norm is "
                    f"{found.tolist()} on ranks 0 to {len(found) - 1}. All ranks have "
                    "to start alike (pyro.set_rng_seed with one seed for all, or one "
                    "checkpoint) and take the same steps; an estimator that learns "
                    "has to learn from what all ranks have seen (draw.pool)."
                )

    def announce(self, error: Exception) -> None:
        """Tell the other ranks that this one has failed, wherever they are.

        Raises:
            DistributedError: They cannot be told.
        """
        self._header("", "", 0, failed=True)
        self._tell(f"{type(error).__name__}: {error}", "a failure")

    def _agree(
        self, what: str, of: Sequence[Tensor], shape: Sequence[int], number: int
    ) -> list[int]:
        """Make sure that all ranks pool the same thing; return each one's number."""
        what += self.place
        kind = "".join(f" {value.dtype} {tuple(shape)}" for value in of)
        header = self._header(what, kind, number, failed=False)
        failed = [rank for rank, row in enumerate(header) if row[0]]
        if not failed and all(row[1:3] == header[0][1:3] for row in header):
            return [row[3] for row in header]
        texts = self._tell(f"{what}{kind}", what)
        if failed:
            raise DistributedError(
                f"Rank {failed[0]} has failed: {texts[failed[0]]} (While this rank "
                f"was to pool {what}.)"
            )
        told = "; ".join(f"rank {rank}: {text}" for rank, text in enumerate(texts))
        raise DistributedError(
            f"The ranks have parted, and would pool different things ({told}). All "
            "ranks have to meet the same sites, of the same shapes, in the same order; "
            "where draws decide by Python control flow which sites there are, give "
            "those sites an estimator that pools nothing, such as "
            '"reparameterized", or "score_function" with baseline=None.'
        )

    def _header(
        self, what: str, kind: str, number: int, *, failed: bool
    ) -> list[list[int]]:
        own = torch.tensor([int(failed), _digest(what), _digest(kind), number])
        received = self._exchange(what, lambda: self.collectives.all_gather(own))
        return [row.tolist() for row in received]

    def _tell(self, text: str, what: str) -> list[str]:
        """Exchange texts."""
        written = text.encode()[:_TEXT].ljust(_TEXT)
        own = torch.tensor(list(written))
        received = self._exchange(what, lambda: self.collectives.all_gather(own))
        return [bytes(r.tolist()).decode(errors="ignore").strip() for r in received]

    def _exchange(self, what: str, operation: Callable[[], T]) -> T:
        try:
            return operation()
        except Exception as error:
            rank, size = self.collectives.rank, self.collectives.size
            raise DistributedError(
                f"Rank {rank} of {size} could not exchange {what or 'a failure'}: "
                f"{error} Probably another rank has ended, or does not answer; its own "
                "output says why."
            ) from error


def _digest(text: str) -> int:
    (number,) = struct.unpack(
        "q", hashlib.blake2b(text.encode(), digest_size=8).digest()
    )
    return int(number)


def _norm(tensors: Sequence[Tensor]) -> float:
    norms = [torch.linalg.vector_norm(t.detach().float()) for t in tensors]
    return float(sum(norms))
