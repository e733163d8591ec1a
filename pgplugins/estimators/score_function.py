"""The score function estimator, also known as REINFORCE or the likelihood ratio."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.distributions import Distribution

from pgplugins.core.algebra import zero_valued
from pgplugins.core.baselines import (
    Baseline,
    Given,
    LeaveOneOut,
    LeaveOneOutIfPossible,
    MovingAverage,
    Neural,
)
from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.path import sample
from pgplugins.errors import InputError, InputTypeError

_BASELINES: dict[str | None, type[Baseline] | None] = {
    "default": LeaveOneOutIfPossible,
    "leave_one_out": LeaveOneOut,
    "moving_average": MovingAverage,
    "neural": Neural,
    "none": None,
    None: None,
}


class ScoreFunction(Estimator):
    """``(f - b) d log q(x)``: any distribution with a density, any cost.

    The sample is detached; the gradient differentiates the density at a fixed point
    (Williams 1992; Glynn 1990). Higher derivatives are right as well (Foerster et al.
    2018, with the baseline of Mao et al. 2019).

    Args:
        baseline: What is subtracted from the cost: ``"leave_one_out"`` (the other
            particles' mean cost; an error if there are none), ``"moving_average"``,
            ``"neural"`` or a :class:`torch.nn.Module` (a network on the site's
            parameters, see :class:`~pgplugins.core.baselines.Neural`), a tensor that
            broadcasts to the costs, or ``None``. By default leave-one-out where there
            are at least two particles or samples side by side, else none.

    Raises:
        InputError: No baseline has that name.
        InputTypeError: The baseline is of a kind that cannot be used.

    Example:
        The gradient of a cost that jumps, 3.06 at N(1, 1), where the path would say 2;
        and a moving average after one call at a cost of 7, with its weight:

        >>> import torch, pgplugins as pg
        >>> mu = torch.tensor(1.0, requires_grad=True)
        >>> d = torch.distributions.Normal(mu, 1.0)
        >>> _ = torch.manual_seed(0)
        >>> cost = lambda x: x**2 + 3 * (x > 0.5)
        >>> loss = pg.expectation(
        ...     cost, d, estimator="score_function", num_samples=100_000
        ... )
        >>> loss.backward()
        >>> round(mu.grad.item(), 1)
        3.1
        >>> moving = pg.estimator("score_function", baseline="moving_average")
        >>> _ = pg.expectation(lambda x: 0 * x + 7, d, estimator=moving)
        >>> dict(moving.state_dict())
        {'baseline.total': tensor(0.7000), 'baseline.weight': tensor(0.1000)}
    """

    name: ClassVar[str] = "score_function"
    traits: ClassVar[Traits] = Traits(
        unbiased=True, needs=frozenset({"log_prob"}), own_score="drop", order="any"
    )

    def __init__(self, baseline: str | Tensor | nn.Module | None = "default") -> None:
        """Choose a baseline."""
        super().__init__()
        self.baseline = _baseline(baseline)

    def draw(self, dist: Distribution) -> Draw:
        """Draw one row, detached from its parameters."""
        return Draw.of_row(dist, sample(dist))

    def gradient_term(self, draw: Draw, cost: Tensor) -> Tensor:
        """Return the score term of ``cost - baseline``, shape ``batch_shape``."""
        baseline = self.baseline
        if baseline is None:
            return draw.summed_score_term(cost)
        guess = baseline.guess(draw, cost)
        if guess is None:
            return draw.summed_score_term(cost)
        term = draw.summed_score_term(cost - guess.detach())
        if guess.requires_grad:
            term = term + zero_valued((cost.detach() - guess) ** 2).squeeze(0)
        return term

    def update(self, draw: Draw, cost: Tensor) -> None:
        """Let the baseline learn from the costs that it has just been used on."""
        baseline = self.baseline
        if baseline is not None:
            baseline.update(draw, cost)


def _baseline(choice: str | Tensor | nn.Module | None) -> Baseline | None:
    if isinstance(choice, Tensor):
        return Given(choice)
    if isinstance(choice, Baseline):
        return choice
    if isinstance(choice, nn.Module):
        return Neural(choice)
    if choice is not None and not isinstance(choice, str):
        raise InputTypeError(
            f"baseline={choice!r} is a {type(choice).__name__}; write one of "
            f"{_names()}, a tensor or a torch.nn.Module."
        )
    if choice not in _BASELINES:
        raise InputError(
            f"There is no baseline {choice!r}; write one of {_names()}, a tensor or a "
            "torch.nn.Module."
        )
    kind = _BASELINES[choice]
    return None if kind is None else kind()


def _names() -> str:
    return ", ".join(repr(n) for n in _BASELINES if n not in ("default", "none"))
