"""LAX: the score function with a control variate whose path is known."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.control_variate import ControlVariate
from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits


class Lax(Estimator):
    """``(f - c) s + grad E[c]``: score function, less a quadratic ``c`` from the past.

    The cost meets the score alone, so it may jump, round, or come from outside torch;
    the quadratic, which is fitted to past costs, lowers the variance, and what it takes
    away comes back along its own path (Grathwohl et al. 2018). It is fitted to minimise
    the variance of the gradient, not the error in the cost. The sample is detached.

    Unbiased from the first draw on. Before there is a past it is the score function,
    less the other particles' mean cost where there are others.

    Example:
        A cost that jumps by 3: the exact gradient at N(1, 1) is 3.06, and the path,
        which does not see the jump, would say 2.

        >>> import torch, pgplugins as pg
        >>> mu = torch.tensor(1.0, requires_grad=True)
        >>> d = torch.distributions.Normal(mu, 1.0)
        >>> _ = torch.manual_seed(0)
        >>> cost = lambda x: x**2 + 3 * (x > 0.5)
        >>> pg.expectation(cost, d, estimator="lax", num_samples=100_000).backward()
        >>> round(mu.grad.item(), 1)
        3.1
    """

    name: ClassVar[str] = "lax"
    traits: ClassVar[Traits] = Traits(
        unbiased=True, needs=frozenset({"rsample", "log_prob"}), own_score="drop"
    )

    def __init__(self) -> None:
        """Start without a past."""
        super().__init__()
        self.control = ControlVariate()

    def draw(self, dist: Distribution) -> Draw:
        """Draw one row, detached from its parameters."""
        return self.control.draw(dist)

    def gradient_term(self, draw: Draw, cost: Tensor) -> Tensor | None:
        """Return the score term of ``f - c`` and the path of ``c``, ``batch_shape``."""
        return self.control.gradient_term(draw, cost)

    def update(self, draw: Draw, cost: Tensor) -> None:
        """Fit the quadratic to the costs that it has just been used on."""
        self.control.update(draw, cost)
