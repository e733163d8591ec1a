"""What several processes make one estimate of: the seam for pooled quantities.

Whatever an estimator takes from more than its own draw (the other particles' costs, an
average over past costs, moments) goes through the pool of that draw. In one process
there is nothing to add, and a pool hands back what it is given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor


class Pool(ABC):
    """The processes (ranks) that share an estimate, as one of them sees it.

    Every rank has to ask for the same things in the same order.

    Example:
        One process has nothing to add, so that estimators are written once for any
        number of ranks. The mean of past costs, pooled:

        >>> import torch
        >>> from pgplugins.core.pooling import LOCAL
        >>> costs = torch.tensor([1.0, 2.0, 6.0])
        >>> total, count = LOCAL.total(costs.sum(), len(costs), "the mean cost")
        >>> total / count, LOCAL.counts
        (tensor(3.), True)
        >>> (everyones,) = LOCAL.rows([costs.unsqueeze(1)], "the costs")
        >>> everyones.shape  # those of all ranks
        torch.Size([3, 1])
        >>> before, after = LOCAL.around(costs, "the costs")  # of the other ranks
        >>> len(before), len(after)
        (0, 0)
    """

    counts: bool = True
    """Whether this rank's draws count; else it only takes part."""

    @abstractmethod
    def total(self, value: Tensor, count: int, what: str) -> tuple[Tensor, int]:
        """Add up over all ranks.

        Args:
            value: Of the same shape on every rank.
            count: How many samples it is a sum over.
            what: What is pooled, for the message if ranks disagree.

        Returns:
            The sum of all values, detached unless there is one rank; and of all counts.

        Raises:
            DistributedError: The ranks pool different things, or one is gone; so in
                every method that exchanges something.
        """

    @abstractmethod
    def around(self, rows: Tensor, what: str) -> tuple[Tensor, Tensor]:
        """Return the rows of the ranks before this one, and of those after it.

        Args:
            rows: Shape ``(N, *same)``, where ``N`` may differ from rank to rank.
            what: As for :meth:`total`.

        Returns:
            Both detached, shape ``(others' N, *same)``.
        """

    @abstractmethod
    def rows(self, parts: Sequence[Tensor], what: str) -> Sequence[Tensor]:
        """Join the rows of all ranks, in the order of the ranks.

        Args:
            parts: Detached, shapes ``(N, k)`` with a ``k`` for each part; ``N`` may
                differ from rank to rank.
            what: As for :meth:`total`.

        Returns:
            As many, shapes ``(sum of all N, k)``.
        """

    def mean(self, value: Tensor, count: int, what: str) -> Tensor:
        """Return the mean of means over ``count`` samples each.

        A rank counts by its samples.

        Args:
            value: This rank's mean, of the same shape on every rank.
            count: How many samples it is over.
            what: As for :meth:`total`.

        Returns:
            The mean over the samples of all ranks, shape of ``value``.

        Example:
            >>> import torch
            >>> from pgplugins.core.pooling import LOCAL
            >>> LOCAL.mean(torch.tensor(3.0), 10, "the mean cost")
            tensor(3.)
        """
        total, samples = self.total(value * count, count, what)
        return total / samples

    @abstractmethod
    def estimate(self, share: Tensor, what: str) -> Tensor:
        """Make a loss of the ranks' shares, whose sum is one process's loss.

        Returns:
            The sum of all shares on every rank. Its gradient is that of this rank's
            share times the number of ranks: averaged over ranks it is one process's.
        """

    @abstractmethod
    def portion(self, loss: Tensor) -> Tensor:
        """Return this rank's share of a loss that all have computed alike.

        The value is divided; the gradient, which reaches this rank's draws, is whole.
        """

    @abstractmethod
    def share(self, particles: int) -> int:
        """Return how many of so many particles are this rank's."""

    @abstractmethod
    def largest_share(self, particles: int) -> int:
        """Return how many of so many particles the rank has that has most."""

    @abstractmethod
    def turns(self, particles: int) -> list[Pool]:
        """Return the pool of each particle that this rank runs one after another.

        All ranks have as many turns. Where the particles do not divide, some take the
        last one without counting.
        """

    @abstractmethod
    def at(self, site: str) -> Pool:
        """Return the pool for a site: its name comes into messages."""


class Local(Pool):
    """One process: there is nothing to add."""

    def total(self, value: Tensor, count: int, what: str) -> tuple[Tensor, int]:
        """Return what is given."""
        return value, count

    def mean(self, value: Tensor, count: int, what: str) -> Tensor:
        """Return what is given."""
        return value

    def around(self, rows: Tensor, what: str) -> tuple[Tensor, Tensor]:
        """Return no rows, twice."""
        return rows[:0].detach(), rows[:0].detach()

    def rows(self, parts: Sequence[Tensor], what: str) -> Sequence[Tensor]:
        """Return what is given."""
        return parts

    def estimate(self, share: Tensor, what: str) -> Tensor:
        """Return what is given."""
        return share

    def portion(self, loss: Tensor) -> Tensor:
        """Return what is given."""
        return loss

    def share(self, particles: int) -> int:
        """All of them."""
        return particles

    def largest_share(self, particles: int) -> int:
        """All of them."""
        return particles

    def turns(self, particles: int) -> list[Pool]:
        """One each."""
        return [self] * particles

    def at(self, site: str) -> Pool:
        """Return the same."""
        return self


LOCAL = Local()


def group_totals(
    values: Tensor, groups: Tensor, pool: Pool = LOCAL, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Sum the values of each group over all ranks, and count them.

    Groups are told apart by their ids alone: they may have any size, lie anywhere, and
    have members on several ranks.

    Args:
        values: Shape ``(*lead, N)``, where ``N`` may differ from rank to rank. Entries
            along ``lead`` are treated one by one.
        groups: The group of each value, integers of shape ``(N,)``.
        pool: The ranks.
        mask: False for entries that do not count, shape of ``values``.

    Returns:
        For every value the sum and the size of its group, both of the shape and dtype
        of ``values``. The others' mean is ``(sum - value) / (size - 1)``.

    Example:
        >>> import torch
        >>> costs, ids = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([7, 7, 9])
        >>> group_totals(costs, ids)
        (tensor([3., 3., 6.]), tensor([2., 2., 1.]))
    """
    values, groups = values.detach(), groups.long()
    counted = torch.ones_like(values) if mask is None else mask.to(values)
    if mask is not None:
        values = values.where(mask, 0.0)
    ids, members = groups.unique(return_inverse=True)
    both = torch.stack([values, counted])  # (2, *lead, N)
    own = both.reshape(both.shape[:-1].numel(), len(members)).t()
    sums = own.new_zeros(len(ids), own.shape[1]).index_add(0, members, own)
    (everyones_ids,) = pool.rows([ids.unsqueeze(1)], "the ids of groups")
    (everyones_sums,) = pool.rows([sums], "the sums over groups")
    known, place = everyones_ids[:, 0].unique(return_inverse=True)
    joined = sums.new_zeros(len(known), own.shape[1])
    joined = joined.index_add(0, place, everyones_sums)
    total, size = joined[torch.searchsorted(known, groups)].t().reshape(both.shape)
    return total, size


def mean_and_std(values: Tensor, pool: Pool = LOCAL) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation over all ranks, as a normalisation needs them.

    Args:
        values: Of any shape, which may differ from rank to rank; two or more in all.
        pool: The ranks.

    Returns:
        Two scalars, detached; the variance has ``n - 1`` below, as in torch.

    Example:
        >>> import torch
        >>> mean_and_std(torch.tensor([1.0, 2.0, 6.0]))
        (tensor(3.), tensor(2.6458))
    """
    mean, variance = mean_and_variance(values.reshape(-1), 0, pool)
    return mean.squeeze(0), variance.squeeze(0).sqrt()


def mean_and_variance(
    values: Tensor, dim: int, pool: Pool = LOCAL
) -> tuple[Tensor, Tensor]:
    """Return mean and variance along a dimension that is divided over ranks.

    Args:
        values: Two or more in all along ``dim``, where their number may differ from
            rank to rank; else of one shape.
        dim: Such as that of the particles.
        pool: The ranks.

    Returns:
        Of the shape of ``values`` with a size of one along ``dim``, detached; the
        variance has ``n - 1`` below, as in torch.

    Example:
        >>> import torch
        >>> mean_and_variance(torch.tensor([[1.0, 4.0], [3.0, 4.0]]), 0)
        (tensor([[2., 4.]]), tensor([[2., 0.]]))
    """
    values = values.detach()
    sums = values.sum(dim, keepdim=True)
    total, count = pool.total(sums, values.shape[dim], "the mean")
    mean = total / count
    squares = (values - mean).square().sum(dim, keepdim=True)
    return mean, pool.total(squares, 0, "the variance")[0] / (count - 1)
