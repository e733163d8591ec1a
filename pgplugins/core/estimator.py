"""The contract: an estimator draws, then corrects."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.errors import InputError

NEEDS = frozenset(
    {
        "rsample",
        "log_prob",
        "enumerate_support",
        "differentiable_cost",
        "relaxation",
        "weak_derivative",
        "coupling",
        "difference",
        "reflection",
    }
)


@dataclass(frozen=True)
class Traits:
    """What an estimator needs and what it promises.

    Traits drive validation, error messages, the tables in the documentation, automatic
    choice and which conformance checks apply.

    Args:
        unbiased: The expectation of the estimate is the gradient, for every cost that
            meets ``needs``.
        needs: What the distribution and the cost must offer, out of ``"rsample"``,
            ``"log_prob"``, ``"enumerate_support"``, ``"differentiable_cost"``,
            ``"relaxation"``, ``"weak_derivative"``, ``"coupling"``, ``"difference"``
            and ``"reflection"``.
        independent_rows: The rows of one draw are independent of one another.
        own_score: In an ELBO the direct gradient of a site's own log q has mean zero.
            ``"drop"`` leaves it out, ``"keep"`` leaves it in. In bounds that join
            particles its mean is another, and both leave it in; ``"path"`` leaves it
            out there too, because the path carries it.
        order: 1, or ``"any"`` if higher derivatives are right as well.
        cost_evaluations: How many evaluations of the cost one draw takes, or what they
            grow with: ``"support"`` for one per point of the support, ``"parameters"``
            for one or two per scalar parameter and one, ``"size"`` for as many as the
            estimator's ``size`` says, ``"choice"`` for one that chooses from draw to
            draw and is told by the fold what the program did with the last one.
        pathwise: The value carries the whole gradient and ``gradient_term`` is ``None``
            whatever the cost, so that no one need find the costs downstream.

    Raises:
        InputError: A field has a value that is not listed here.

    Example:
        >>> score = Traits(unbiased=True, needs=frozenset({"log_prob"}), order="any")
        >>> score.order, score.many_rows
        ('any', False)
        >>> Traits(unbiased=True, needs=frozenset({"logprob"}))
        Traceback (most recent call last):
            ...
        pgplugins.errors.InputError: Traits(needs=...) names ['logprob']; write some ...
    """

    unbiased: bool
    needs: frozenset[str] = frozenset()
    independent_rows: bool = True
    own_score: Literal["keep", "drop", "path"] = "keep"
    order: int | Literal["any"] = 1
    cost_evaluations: int | Literal["support", "parameters", "size", "choice"] = 1
    pathwise: bool = False

    def __post_init__(self) -> None:
        """Refuse values that no part of the library knows."""
        object.__setattr__(self, "needs", frozenset(self.needs))
        unknown = set(self.needs) - NEEDS
        if unknown:
            raise InputError(
                f"Traits(needs=...) names {sorted(unknown)}; "
                f"write some of {sorted(NEEDS)}."
            )
        if self.own_score not in ("keep", "drop", "path"):
            raise InputError(
                f"Traits(own_score={self.own_score!r}): write 'keep', 'drop' or 'path'."
            )
        if self.order not in (1, "any"):
            raise InputError(f"Traits(order={self.order!r}): write 1 or 'any'.")
        evaluations = self.cost_evaluations
        if evaluations not in ("support", "parameters", "size", "choice") and (
            not isinstance(evaluations, int) or evaluations < 1
        ):
            raise InputError(
                f"Traits(cost_evaluations={evaluations!r}): write a positive integer, "
                "'support', 'parameters', 'size' or 'choice'."
            )

    @property
    def scores_to_any_order(self) -> bool:
        """Whether costs meet scores and nothing else, right to every derivative."""
        return (
            self.order == "any"
            and "log_prob" in self.needs
            and "differentiable_cost" not in self.needs
        )

    @property
    def takes_recorded_draws(self) -> bool:
        """Whether the density of one row is all it needs, whoever drew the row."""
        return self.needs == {"log_prob"} and not self.many_rows

    @property
    def many_rows(self) -> bool:
        """Whether one draw has, or may have, more than one row."""
        return self.cost_evaluations != 1


class Estimator(nn.Module, ABC):
    """Draws at a site, then corrects the gradient that autograd would give.

    Subclasses set ``name`` and ``traits`` and are final: vary by composition. State
    (moving averages, moments) lives in buffers, is read before it is updated, and has a
    shape that depends on event and parameter shapes only. One instance holds the state
    of one site.

    Attributes:
        name: What the estimator is registered under, an identifier.
        traits: What it needs and what it promises.
        site: The name of the site, where an objective has bound a copy to it.

    Example:
        The score function with the mean of past costs as its baseline, which it reads
        before it updates it:

        >>> import torch
        >>> from pgplugins import Draw, Traits
        >>> class PastMean(Estimator):
        ...     name = "past_mean"
        ...     traits = Traits(unbiased=True, needs=frozenset({"log_prob"}))
        ...
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.register_buffer("sum", torch.tensor(0.0))
        ...         self.register_buffer("count", torch.tensor(0))
        ...
        ...     def draw(self, dist):
        ...         return Draw(dist=dist, value=dist.sample().unsqueeze(0))
        ...
        ...     def gradient_term(self, draw, cost):
        ...         baseline = self.sum / self.count.clamp_min(1)
        ...         return draw.score_term(cost - baseline)[0]
        ...
        ...     def update(self, draw, cost):
        ...         total, count = draw.pool.total(cost.sum(), cost.numel(), "the cost")
        ...         self.sum += total
        ...         self.count += count
        >>> estimator = PastMean()
        >>> draw = estimator.draw(torch.distributions.Normal(torch.zeros(2), 1.0))
        >>> estimator.gradient_term(draw, torch.tensor([[4.0, 6.0]]))
        tensor([0., 0.])
        >>> estimator.update(draw, torch.tensor([[4.0, 6.0]]))
        >>> dict(estimator.state_dict())
        {'sum': tensor(10.), 'count': tensor(2)}
    """

    name: ClassVar[str]
    traits: ClassVar[Traits]
    site: str | None = None

    @abstractmethod
    def draw(self, dist: Distribution) -> Draw:
        """Return rows drawn from ``dist``.

        Args:
            dist: Batch shape ``batch_shape``, event shape ``event_shape``.

        Returns:
            Rows whose ``value`` has shape ``(rows, *batch_shape, *event_shape)``.
        """

    @abstractmethod
    def gradient_term(self, draw: Draw, cost: Tensor) -> Tensor | None:
        """Return the part of the gradient that the rows' own paths do not carry.

        Args:
            draw: What :meth:`draw` returned.
            cost: Shape ``(rows, *batch_shape)``; it may carry further dimensions (rows
                of other sites) between the rows and the batch, so count from the right.

        Returns:
            A tensor of shape ``batch_shape`` (with those further dimensions, if any)
            whose value is exactly zero and whose gradient, added to that of
            ``sum_r weight_r * cost_r``, is the estimate; ``None`` if nothing is
            missing.
        """

    def update(self, draw: Draw, cost: Tensor) -> None:
        """Learn from the past: called after ``gradient_term`` was built.

        What is learnt from costs goes through ``draw.pool``, so that processes that
        share an estimate have the same state.

        Args:
            draw: As for :meth:`gradient_term`.
            cost: As for :meth:`gradient_term`; detached.
        """

    def adopt(self, dist: Distribution, row: Tensor) -> Draw | None:
        """Return the draw of a row that others drew; ``None`` if it draws for itself.

        Args:
            dist: What it was drawn from.
            row: Detached, shape ``(*batch_shape, *event_shape)``.

        Example:
            The score function needs no more than a recorded draw's density; DisARM has
            to draw its pair itself.

            >>> import torch, pgplugins as pg
            >>> coin, heads = torch.distributions.Bernoulli(0.5), torch.tensor(1.0)
            >>> pg.estimator("score_function").adopt(coin, heads).value
            tensor([1.])
            >>> pg.estimator("disarm").adopt(coin, heads) is None
            True
        """
        if not self.traits.takes_recorded_draws:
            return None
        return Draw.of_row(dist, row)

    @property
    def in_use(self) -> Estimator:
        """The estimator that draws: another than this one if it chooses among some.

        Example:
            >>> import pgplugins as pg
            >>> pg.estimator("enumerate").in_use.name
            'enumerate'
        """
        return self

    def refusal(self, dist: Distribution) -> str | None:
        """Return why this estimator cannot serve ``dist``; ``None`` if it can.

        For what ``traits.needs`` does not say.

        Args:
            dist: What it would draw from.

        Example:
            >>> import torch, pgplugins as pg
            >>> wide = torch.distributions.Bernoulli(torch.full((20,), 0.5))
            >>> wide = torch.distributions.Independent(wide, 1)
            >>> print(pg.estimator("enumerate").refusal(wide))
            its support has 2^20 = 1048576 points, more than max_rows=16384
        """
        return None
