"""Quadratics in the sample, fitted on the past: what a cost is expected to be."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pgplugins.core.averages import PastAverage
from pgplugins.core.regression import PastRegression

_ENOUGH = 100.0  # rows before a parabola foretells, and again before it is believed


class Guess(NamedTuple):
    """What a cost is guessed to be at a sample.

    Args:
        value: Shape ``batch_shape``, differentiable in the sample.
        level: Mean of cost less value over past draws.
        trust: How much of what other particles say about the level here is believed.
    """

    value: Tensor
    level: Tensor
    trust: Tensor


class FullQuadratic(nn.Module):
    """A quadratic with all products, fitted to the variance of the gradient.

    With ``phi_j`` the monomials, ``(f - c) s + grad E[c]`` is ``f s`` less columns
    ``phi_j s - path of phi_j`` of mean zero, one per parameter, so that the
    coefficients are those of a regression. What the other particles say about the level
    of an element's cost is trusted as far as it has foretold the element's own rest.
    """

    def __init__(self) -> None:
        """Start without a past."""
        super().__init__()
        self.past = PastRegression(horizon=10.0, ridge=1e-3, shared=True)
        self.means = PastAverage(1000.0)
        self.levels = PastAverage(1000.0)

    def guess(self, u: Tensor) -> Guess | None:
        """Guess the cost at coordinates ``(*batch_shape, M)``; ``None`` at first."""
        found, means = self.past.coefficients(), self.means.value
        count = _count(u.shape[-1])
        if found is None or means is None or found.shape[1] != count:
            return None
        found, means = found[0, :, 0].to(u), means.to(u)
        value = means[-1] + _monomials(u) @ found
        return Guess(value, -(means[:-1] @ found), self._trust(u))

    def _trust(self, u: Tensor) -> Tensor:
        if self.levels.value is None:
            return u.new_ones(())
        product, square = self.levels.value.unbind()
        return (product / square.clamp_min(1e-300)).clamp(0.0, 1.0).to(u)

    def update(
        self, u: Tensor, path: Tensor, score: Tensor, f: Tensor, others: Tensor | None
    ) -> None:
        """Learn from rows.

        Args:
            u: Coordinates, shape ``(N, M)``.
            path: Their gradients for the parameters, shape ``(N, M, P)``.
            score: Shape ``(N, P)``.
            f: Costs, shape ``(N,)``.
            others: Other particles' mean of cost less guess, shape ``(N,)``; ``None``
                without any.
        """
        guess = self.guess(u)
        phi = _monomials(u)
        self.means.update(torch.cat([phi, f.unsqueeze(-1)], -1))
        if self.means.value is None:
            return  # no cost so far was finite
        mean = self.means.value[-1].to(f)
        # Less the mean so far: what is left to the regression is shrunk by its ridge.
        rest = f - mean
        if others is not None:
            value, level = (0.0, mean) if guess is None else (guess.value, guess.level)
            said = others - level
            trust = self._trust(u)
            self.levels.update(torch.stack([(f - value - level) * said, said**2], -1))
            rest = rest - trust * said
        first, second = _pairs(u)
        slopes = torch.cat(
            [
                torch.zeros_like(path[:, :1]),
                path,
                u[:, first, None] * path[:, second]
                + u[:, second, None] * path[:, first],
            ],
            1,
        )
        columns = phi.unsqueeze(-1) * score.unsqueeze(1) - slopes
        targets = (rest.unsqueeze(-1) * score).t().unsqueeze(-1)
        self.past.update(columns.permute(2, 0, 1), targets)


class SeparableQuadratic(nn.Module):
    """A sum of parabolas, one per coordinate, fitted to the cost.

    In a wide event the score hardly varies in size, so that the variance of the
    gradient is that of the rest ``f - c``: each coordinate's parabola is the regression
    of the cost on it. Coefficients that few rows have settled add noise, so the sum is
    scaled by a second regression, of costs on what was foretold of them: what foretells
    nothing is left out.
    """

    trusted: Tensor

    def __init__(self) -> None:
        """Start without a past."""
        super().__init__()
        self.moments = PastAverage(1000.0, per_column=10 / 3)
        self.foretold = PastAverage(300.0)
        # Apart from the weight, which changes at every call: a step that is compiled
        # has to be compiled anew when what was read has another value.
        self.register_buffer("trusted", torch.tensor(False))

    def guess(self, u: Tensor) -> Guess | None:
        """Guess the cost at coordinates ``(*batch_shape, M)``; ``None`` at first."""
        found = self._coefficients(u)
        if found is None or not self.trusted:
            return None
        slopes, means = found
        moments = self.foretold.value
        assert moments is not None
        guess, square, cost, product = moments.unbind()
        spread = square - guess * guess
        scale = (product - guess * cost) / spread.clamp_min(1e-300)
        slopes = scale.clamp(0.0, 1.0).to(u) * slopes
        value = _powers(u) @ slopes + (means[-1] - means[:-1] @ slopes)
        return Guess(value, means.new_zeros(()), means.new_ones(()))

    def update(self, u: Tensor, f: Tensor, others: Tensor | None) -> None:
        """Learn from rows.

        Args:
            u: Coordinates, shape ``(N, M)``.
            f: Costs, shape ``(N,)``.
            others: Other particles' mean cost, shape ``(N,)``; ``None`` without any.
        """
        powers = _powers(u)
        found = self._coefficients(u)
        if others is None:
            others = torch.zeros_like(f) if found is None else found[1][-1]
        rest = (f - others).unsqueeze(-1)
        if found is not None and float(self.moments.weight) >= _ENOUGH:
            guess = (powers @ found[0]).unsqueeze(-1)
            self.foretold.update(
                torch.cat([guess, guess * guess, rest, guess * rest], -1)
            )
            self.trusted = self.foretold.weight >= _ENOUGH
        self.moments.update(
            torch.cat([powers, powers * powers, powers * rest, rest, f[:, None]], -1)
        )

    def _coefficients(self, u: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the powers' coefficients, and the means of powers and cost."""
        size, moments = 2 * u.shape[-1], self.moments.value
        if moments is None or moments.shape[0] != 3 * size + 2:
            return None
        mean, square, product = moments[: 3 * size].reshape(3, size)
        spread = square - mean * mean
        slopes = torch.where(spread > 0, (product - mean * moments[-2]) / spread, 0.0)
        return slopes.to(u), torch.cat([mean, moments[-1:]]).to(u)


def _powers(u: Tensor) -> Tensor:
    return torch.cat([u, u * u], -1)


def _monomials(u: Tensor) -> Tensor:
    """Return 1, ``u_m`` and ``u_m u_n``, along the last dimension."""
    first, second = _pairs(u)
    return torch.cat(
        [torch.ones_like(u[..., :1]), u, u[..., first] * u[..., second]], -1
    )


def _count(size: int) -> int:
    """How many monomials there are of so many coordinates."""
    return 1 + size + size * (size + 1) // 2


def _pairs(u: Tensor) -> tuple[Tensor, Tensor]:
    size = u.shape[-1]
    first, second = torch.triu_indices(size, size, device=u.device)
    return first, second
