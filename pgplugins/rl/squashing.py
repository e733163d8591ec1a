"""Actions in bounds: a policy squashed by tanh, which keeps the preimage."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import softplus

from pgplugins.core.path import density
from pgplugins.errors import InputError, InputTypeError


@dataclass(frozen=True)
class SquashedPolicy:
    """Actions ``low + (high - low) (tanh(x) + 1) / 2`` with ``x ~ base``: in bounds.

    Record the *preimage* ``x`` and act with ``action(x)``. The score and the importance
    ratios of the action are those of its preimage under ``base``, exactly, because the
    slope of the squashing does not depend on the parameters. To go back from a recorded
    action by atanh loses digits near the bounds, and is infinite at them: in single
    precision from ``x`` of about 9 on.

    Args:
        base: A distribution of real numbers, such as a Normal.
        low: The least action.
        high: The greatest.

    Raises:
        InputError: ``low`` is not below ``high``.
        InputTypeError: ``base`` is not a distribution.

    Example:
        >>> import torch, pgplugins as pg
        >>> mu = torch.tensor([0.0, 0.0], requires_grad=True)
        >>> policy = SquashedPolicy(torch.distributions.Normal(mu, 1.0), -2.0, 2.0)
        >>> x = torch.tensor([1.0, 20.0])  # recorded: policy.base.sample()
        >>> policy.action(x)  # what the environment gets
        tensor([1.5232, 2.0000])
        >>> pg.surrogate(policy.base, x, torch.tensor([1.0, 1.0])).sum().backward()
        >>> mu.grad
        tensor([ 1., 20.])
    """

    base: Distribution
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        """Check the bounds."""
        if not isinstance(self.base, Distribution):
            raise InputTypeError(
                f"SquashedPolicy(base=...) takes a distribution; found a "
                f"{type(self.base).__name__}."
            )
        if not self.low < self.high:
            raise InputError(
                f"SquashedPolicy: low={self.low!r} must be less than "
                f"high={self.high!r}."
            )

    def action(self, preimage: Tensor) -> Tensor:
        """Return the action that a preimage stands for.

        Args:
            preimage: Shape ``(*batch, *event)``.

        Returns:
            Shape of ``preimage``.
        """
        return self.low + (self.high - self.low) * (preimage.tanh() + 1) / 2

    def log_prob(self, preimage: Tensor) -> Tensor:
        """Return the log-density of ``action(preimage)``, finite also at the bounds.

        For entropies; scores and ratios do not need it.

        Args:
            preimage: Shape ``(*batch, *event)``.

        Returns:
            Shape ``batch``.

        Raises:
            EstimatorError: The base has no density there.

        Example:
            The density of the action integrates to one, with ``da = (1 - a^2) dx``:

            >>> import torch
            >>> policy = SquashedPolicy(torch.distributions.Normal(0.0, 1.0))
            >>> x = torch.linspace(-8, 8, 1001)
            >>> torch.trapezoid(policy.log_prob(x).exp(), policy.action(x))
            tensor(1.0000)
            >>> policy.log_prob(torch.tensor(20.0)).isfinite()  # where the action is 1
            tensor(True)
        """
        # log(1 - tanh(x)^2) without the difference, which vanishes.
        slope = 2 * (math.log(2.0) - preimage - softplus(-2 * preimage))
        slope = slope + math.log((self.high - self.low) / 2)
        event = tuple(range(-len(self.base.event_shape), 0))
        return density(self.base, preimage) - (slope.sum(event) if event else slope)
