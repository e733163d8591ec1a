"""A draw: the rows of values that an estimator hands to the program."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.algebra import first_score_term, score_term
from pgplugins.core.circumstances import Circumstances
from pgplugins.core.credit import Credit
from pgplugins.core.features import log_prob_near_support
from pgplugins.core.path import density
from pgplugins.core.pooling import LOCAL, Pool

if TYPE_CHECKING:
    from pgplugins.core.estimator import Estimator


@dataclass
class Delegation:
    """Who drew, where the estimator that was asked has left it to another.

    Args:
        to: The estimator that drew: its traits are those of the draw.
        law: What it drew from, if that is the distribution on parameters of its own: a
            cost in which the distribution stands, such as its own log q, is to be taken
            from there, so that whoever asked for them sees all of their gradients.
        extra: Whatever the estimator that was asked wants to find again.
    """

    to: Estimator
    law: Distribution | None = None
    extra: Any = None


@dataclass
class Draw:
    """Rows of values drawn at one site, with their weights.

    The estimate of an expected cost is ``sum_r weight_r * cost_r`` over the rows. A row
    of weight zero is an auxiliary evaluation.

    Args:
        dist: The distribution that was drawn from.
        value: Shape ``(rows, *batch_shape, *event_shape)``. Several rows may have size
            1 in batch dimensions along which they are all alike.
        weight: Broadcastable to ``(rows, *batch_shape)``, sums to one over rows;
            ``None`` stands for equal weights.
        extra: Whatever the estimator wants to find again in ``gradient_term``.
        held_dist: ``dist`` with its parameters detached, if the estimator has it: where
            only the path through the value is to be differentiated.
        off_support: Rows may lie off the support (a relaxation's); the family's
            relaxation then supplies the log-density there.
        particle_dim: Set by the front: the batch dimension (negative, counted from the
            right) along which draws are independent replicates, or ``None``.
        credit: Set by the front where the loss is no mean over particles: what the loss
            says of this draw.
        first_order: Set by the front: the loss will be differentiated once, so that
            score terms need no more than their first derivative.
        pool: Set by the front: the processes that share the estimate. What an estimator
            learns from several draws goes through it.
        delegation: Set by an estimator that has left the draw to another.
        met: Set by the fold where the estimator's rows are its own choice: what the
            program did with the draw; ``None`` if nobody could see it.
        heard_others: Set where the other particles' costs have been asked for, so that
            the particles' gradients are not quite independent.

    Example:
        Two rows of a batch of three, and their scores ``(x - mu) / sigma^2``:

        >>> import torch
        >>> mu = torch.zeros(3, requires_grad=True)
        >>> d = torch.distributions.Normal(mu, 2.0)
        >>> value = torch.tensor([[1.0, 2.0, 3.0], [-1.0, -2.0, -4.0]])
        >>> draw = Draw(dist=d, value=value)
        >>> draw.rows, draw.row, draw.log_prob.shape
        (2, tensor([1., 2., 3.]), torch.Size([2, 3]))
        >>> torch.autograd.grad(draw.log_prob[0].sum(), mu)
        (tensor([0.2500, 0.5000, 0.7500]),)
    """

    dist: Distribution
    value: Tensor
    weight: Tensor | None = None
    extra: Any = None
    held_dist: Distribution | None = None
    off_support: bool = False
    particle_dim: int | None = None
    credit: Credit | None = None
    first_order: bool = False
    pool: Pool = LOCAL
    delegation: Delegation | None = None
    met: Circumstances | None = None
    heard_others: bool = False
    _log_prob: Tensor | None = field(default=None, init=False, repr=False)
    _row_log_prob: Tensor | None = field(default=None, init=False, repr=False)
    _row: Tensor | None = field(default=None, init=False, repr=False)

    @classmethod
    def of_row(
        cls,
        dist: Distribution,
        row: Tensor,
        *,
        extra: Any = None,
        held_dist: Distribution | None = None,
        off_support: bool = False,
    ) -> Draw:
        """Return a draw of one row: what ``dist.sample()`` or ``.rsample()`` returned.

        The program is shown that very tensor. A transform with a cache knows what it
        returned by identity, and some have no other inverse (planar flows).

        Args:
            dist: The distribution that was drawn from.
            row: Shape ``(*batch_shape, *event_shape)``.
            extra: As for :class:`Draw`.
            held_dist: As for :class:`Draw`.
            off_support: As for :class:`Draw`.

        Returns:
            A draw whose ``value`` has shape ``(1, *batch_shape, *event_shape)``.

        Example:
            >>> import torch
            >>> d = torch.distributions.Normal(torch.zeros(3), 1.0)
            >>> x = d.sample()
            >>> draw = Draw.of_row(d, x)
            >>> draw.value.shape, draw.row is x
            (torch.Size([1, 3]), True)
        """
        draw = cls(
            dist,
            row.unsqueeze(0),
            extra=extra,
            held_dist=held_dist,
            off_support=off_support,
        )
        draw._row = row
        return draw

    @property
    def row(self) -> Tensor:
        """The first row, shape ``(*batch_shape, *event_shape)``."""
        return self.value[0] if self._row is None else self._row

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.value.shape[0]

    @property
    def log_prob(self) -> Tensor:
        """Log-density of the held values, shape ``(rows, *batch_shape)``.

        The value is detached, the parameters are not: its gradient is the score.

        Raises:
            EstimatorError: The distribution has no density there.
        """
        if self._log_prob is None:
            self._log_prob = (
                self.row_log_prob.unsqueeze(0)
                if self.rows == 1
                else self._density(self.value.detach())
            )
        return self._log_prob

    @property
    def row_log_prob(self) -> Tensor:
        """As :attr:`log_prob` for a draw of one row, shape ``batch_shape``.

        Parameters without a dimension for rows need no expansion here, and the graph
        has one node less at every site.

        Raises:
            EstimatorError: As :attr:`log_prob`.

        Example:
            >>> import torch
            >>> d = torch.distributions.Bernoulli(torch.tensor([0.5, 0.25]))
            >>> Draw.of_row(d, torch.ones(2)).row_log_prob.exp()
            tensor([0.5000, 0.2500])
        """
        if self._row_log_prob is None:
            # A tensor of its own: a transform with a cache would know the value that it
            # returned and hand back the path that led to it (pytorch#59822).
            self._row_log_prob = self._density(self.row.detach())
        return self._row_log_prob

    def _density(self, value: Tensor) -> Tensor:
        if self.off_support:
            return log_prob_near_support(self.dist, value)
        return density(self.dist, value)

    def value_beside(self, shared: Container[int] = ()) -> Tensor:
        """Return the value in its full shape, but for some batch dimensions.

        Args:
            shared: Batch dimensions, negative and counted from the right, in which the
                value may keep a size of 1.

        Example:
            >>> import torch
            >>> d = torch.distributions.Bernoulli(torch.full((2, 3), 0.5))
            >>> draw = Draw(dist=d, value=torch.tensor([0.0, 1.0]).reshape(2, 1, 1))
            >>> draw.value_beside().shape, draw.value_beside({-1}).shape
            (torch.Size([2, 2, 3]), torch.Size([2, 2, 1]))
        """
        batch, event = self.dist.batch_shape, self.dist.event_shape
        there = self.value.shape[1 : 1 + len(batch)]
        sizes = [
            size if size == 1 and dim in shared else full
            for dim, size, full in zip(range(-len(batch), 0), there, batch, strict=True)
        ]
        return self.value.expand(-1, *sizes, *event)

    def score_term(self, cost: Tensor) -> Tensor:
        """Return a zero with gradient ``cost * score``: what score estimators return.

        Args:
            cost: Shape ``(rows, *batch_shape)``, or with further dimensions between,
                which hold the rows of other sites.

        Returns:
            The shape of ``cost``; exactly zero in value, right to every order of
            differentiation (Foerster et al. 2018, eq. 9) that the front asks for.

        Raises:
            EstimatorError: As :attr:`log_prob`.

        Example:
            A cost of 10 at x = 1, where the score of N(0, 2^2) for its mean is 1/4:

            >>> import torch
            >>> mu = torch.tensor(0.0, requires_grad=True)
            >>> d = torch.distributions.Normal(mu, 2.0)
            >>> draw = Draw.of_row(d, torch.tensor(1.0))
            >>> term = draw.score_term(torch.tensor([10.0]))
            >>> term.tolist(), torch.autograd.grad(term.sum(), mu)
            ([0.0], (tensor(2.5000),))
        """
        term = first_score_term if self.first_order else score_term
        log_prob = self.log_prob
        between = cost.dim() - log_prob.dim()
        if between > 0:
            rows, *batch = log_prob.shape
            log_prob = log_prob.reshape(rows, *(1,) * between, *batch)
        return term(cost, log_prob)

    def summed_score_term(self, cost: Tensor) -> Tensor:
        """Return :meth:`score_term` summed over the rows, shape ``cost.shape[1:]``.

        Cheaper than that for a draw of one row.

        Args:
            cost: As for :meth:`score_term`.

        Raises:
            EstimatorError: As :attr:`log_prob`.

        Example:
            >>> import torch
            >>> logit = torch.tensor(0.0, requires_grad=True)
            >>> d = torch.distributions.Bernoulli(logits=logit)
            >>> draw = Draw(dist=d, value=torch.tensor([0.0, 1.0]))  # scores -1/2, 1/2
            >>> term = draw.summed_score_term(torch.tensor([3.0, 5.0]))
            >>> torch.autograd.grad(term, logit)
            (tensor(1.),)
        """
        if self.rows > 1:
            return self.score_term(cost).sum(0)
        term = first_score_term if self.first_order else score_term
        return term(cost[0], self.row_log_prob)

    def others_cost(self, cost: Tensor) -> Tensor | None:
        """Return the cost as the other particles alone suggest it.

        It has not seen the draw, so that it may be subtracted from what meets the
        score.

        Args:
            cost: What ``gradient_term`` got, or a part of it: shape ``(rows,
                *batch_shape)``, the particles along :attr:`particle_dim` of the batch.

        Returns:
            Shape of ``cost``, detached; ``None`` if there are no other particles.

        Example:
            Three particles, and what the other two of each suggest:

            >>> import torch
            >>> d = torch.distributions.Normal(torch.zeros(3), 1.0)
            >>> draw = Draw.of_row(d, d.sample())
            >>> draw.particle_dim = -1
            >>> draw.others_cost(torch.tensor([[1.0, 2.0, 6.0]]))
            tensor([[4.0000, 3.5000, 1.5000]])
        """
        if self.credit is not None:
            others = self.credit.others
            return None if others is None else others.expand_as(cost)
        dim = self.particle_dim
        if dim is None:
            return None
        cost = cost.detach()
        total, count = self.pool.total(
            cost.sum(dim, keepdim=True), cost.shape[dim], "the other particles' costs"
        )
        if count < 2:
            return None
        self.heard_others = True
        return (total - cost) / (count - 1)
