"""Baselines: what is subtracted from a cost before it meets the score.

A baseline may be anything that has not seen the draw that it is subtracted from: then
the score term's mean does not change, only its variance (Williams 1992; Greensmith et
al. 2004). Each class here is read before it is updated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from pgplugins.core.draw import Draw
from pgplugins.core.finite import require_finite
from pgplugins.core.numbers import within
from pgplugins.core.parameters import parameters_of
from pgplugins.core.pooling import Pool
from pgplugins.errors import EstimatorError, ShapeError


class Baseline(nn.Module, ABC):
    """A guess of the cost at one site that has not seen the current draw."""

    def guess(self, draw: Draw, cost: Tensor) -> Tensor | None:
        """Return the guess, broadcastable to ``cost``; ``None`` stands for zero.

        A guess with a gradient is trained on its squared error.

        Args:
            draw: The draw, one row.
            cost: Shape ``(1, *batch_shape)`` (with further dimensions before the batch,
                if there are rows of other sites), not detached.

        Raises:
            EstimatorError: The draw has several rows, or the baseline needs more.
        """
        if draw.rows > 1:
            raise EstimatorError(
                f"A baseline goes with draws of one row; found {draw.rows} rows. Rows "
                "may depend on one another, and then what has seen one row has seen "
                "something of the others. Draw more particles or samples instead, or "
                "compare the rows in the estimator's own gradient_term."
            )
        return self._guess(draw, cost)

    @abstractmethod
    def _guess(self, draw: Draw, cost: Tensor) -> Tensor | None:
        """Return the guess for a draw of one row."""

    def update(self, draw: Draw, cost: Tensor) -> None:
        """Learn from the costs, rows first, after the guess was used."""


class LeaveOneOut(Baseline):
    """Mean cost of the other particles (Kool, van Hoof and Welling 2019, eq. 8).

    On an importance-weighted bound it is VIMCO (Mnih and Rezende 2016, eq. 10).
    """

    def _guess(self, draw: Draw, cost: Tensor) -> Tensor:
        """Return the others' mean, shape of ``cost``.

        Raises:
            EstimatorError: There are fewer than two independent draws.
        """
        others = draw.others_cost(cost)
        if others is None:
            raise EstimatorError(
                'baseline "leave_one_out" needs at least 2 independent draws side by '
                "side and found 1. Write num_samples=2 or more, or num_particles=2 or "
                'more with vectorize_particles=True, or baseline="moving_average".'
            )
        return others


class LeaveOneOutIfPossible(Baseline):
    """Mean cost of the other particles where there are any, else zero."""

    def _guess(self, draw: Draw, cost: Tensor) -> Tensor | None:
        """Return the others' mean, or ``None`` for a single particle."""
        return draw.others_cost(cost)


class MovingAverage(Baseline):
    """Exponential average of past costs, pooled over particles and batch elements.

    Args:
        decay: Weight of the past at every update, in [0, 1).
    """

    total: Tensor
    weight: Tensor

    def __init__(self, decay: float = 0.9) -> None:
        """Start without a past: the first guess is zero."""
        super().__init__()
        within(decay, "decay", 0.0, 1.0, below=True)
        self.decay = decay
        self.register_buffer("total", torch.zeros(()))
        self.register_buffer("weight", torch.zeros(()))

    def _guess(self, draw: Draw, cost: Tensor) -> Tensor:
        """Return the average of past costs, a scalar."""
        return (self.total / self.weight.clamp_min(1e-12)).to(cost)

    def update(self, draw: Draw, cost: Tensor) -> None:
        """Take the current costs into the average."""
        mean = cost.detach().mean().to(self.total)
        mean = draw.pool.mean(mean, cost.numel(), "the moving average")
        # One cost that is not finite must not spoil all that follow.
        told = mean.isfinite()
        total = self.decay * self.total + (1 - self.decay) * mean
        weight = self.decay * self.weight + (1 - self.decay)
        self.total = torch.where(told, total, self.total)
        self.weight = torch.where(told, weight, self.weight)


class Given(Baseline):
    """A tensor of guesses that the caller has made, such as a critic's values.

    Its gradient is stopped: train it with a loss of your own.
    """

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        """Keep the guesses.

        Raises:
            NotFiniteError: One is nan or infinite.
        """
        super().__init__()
        require_finite(value, "The baseline")
        self.register_buffer("value", value.detach(), persistent=False)

    def _guess(self, draw: Draw, cost: Tensor) -> Tensor:
        """Return the guesses.

        Raises:
            ShapeError: They do not broadcast to the cost.
        """
        wanted = cost.shape[1:]
        try:
            fits = torch.broadcast_shapes(self.value.shape, wanted) == wanted
        except RuntimeError:
            fits = False
        if not fits:
            raise ShapeError(
                f"The baseline has shape {tuple(self.value.shape)}, which does not "
                f"broadcast to the costs' shape {tuple(wanted)}."
            )
        return self.value


class Neural(Baseline):
    """A network that guesses the cost from the site's distribution parameters.

    The parameters are what the site's parents decided before the draw, so the guess has
    not seen it (Mnih and Gregor 2014, section 2.3). The network is trained on the
    squared error behind a detach barrier: neither loss reaches the other's parameters.

    Args:
        network: Maps ``(*batch_shape, features)`` to ``(*batch_shape, 1)``, where the
            features are the site's parameters, flattened and joined. It is asked once
            for particles that share their parameters: ``batch_shape`` is one there.
            ``None`` makes one with a hidden layer of 32 units when the first draw shows
            the size.
    """

    def __init__(self, network: nn.Module | None = None) -> None:
        """Keep the network, or wait for the first draw to size one."""
        super().__init__()
        self.network = network

    def _guess(self, draw: Draw, cost: Tensor) -> Tensor:
        """Return the network's guess, of size one where parameters are expanded.

        Raises:
            ShapeError: The network does not return one guess per batch element.
        """
        batch = len(draw.dist.batch_shape)
        values = [p.detach().flatten(batch) for p in _with_event(draw, batch)]
        features = torch.cat(_once(values, batch), -1).to(cost)
        if self.network is None:
            self.network = _network(features.shape[-1]).to(cost)
            _start_alike(self.network, draw.pool)
        guess: Tensor = self.network(features)
        if guess.shape != (*features.shape[:-1], 1):
            raise ShapeError(
                f"The baseline network maps {tuple(features.shape)} to "
                f"{tuple(guess.shape)}; it must return "
                f"{(*features.shape[:-1], 1)}: one guess per batch element."
            )
        return guess.squeeze(-1)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any
    ) -> None:
        first = state_dict.get(prefix + "network.0.weight")
        if self.network is None and first is not None:
            # What is overwritten at once must not draw from the generator.
            with torch.random.fork_rng(devices=[]):
                self.network = _network(first.shape[1]).to(first)
        super()._load_from_state_dict(dict(state_dict), prefix, *args)


def _network(features: int) -> nn.Module:
    return nn.Sequential(nn.Linear(features, 32), nn.Tanh(), nn.Linear(32, 1))


def _start_alike(network: nn.Module, pool: Pool) -> None:
    """Give the network of every rank the first one's weights."""
    weights = parameters_to_vector(network.parameters()).detach()
    (everyones,) = pool.rows([weights.unsqueeze(1)], "a baseline network's start")
    vector_to_parameters(everyones[: len(weights), 0], network.parameters())


def _with_event(draw: Draw, batch: int) -> list[Tensor]:
    values = parameters_of(draw.dist).values()
    return [p.unsqueeze(-1) if p.dim() == batch else p for p in values]


def _once(values: list[Tensor], batch: int) -> list[Tensor]:
    """Take one element along batch dimensions that all values are expanded along."""
    for dim in range(batch):
        if all(v.stride(dim) == 0 for v in values):
            values = [v.narrow(dim, 0, 1) for v in values]
    return values
