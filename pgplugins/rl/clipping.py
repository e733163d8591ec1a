"""The clipped surrogate of proximal policy optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pgplugins.core.finite import require_finite
from pgplugins.core.numbers import real_cost, within
from pgplugins.rl.ratios import Ratios
from pgplugins.rl.recording import require_flags, require_steps


@dataclass(frozen=True)
class ClippedSurrogate:
    """A loss whose gradient is biased, by its making.

    Args:
        loss: Shape ``(time, *batch)``, zero at masked steps: minimise its mean.
        clipped: Share of the steps that count whose gradient was cut off.
        unbiased: False: where a ratio is clipped, the gradient of that step is zero,
            whatever the cost is.

    Example:
        A step that has become twice as likely and was good gets no gradient any more:

        >>> import torch, pgplugins as pg
        >>> log = torch.tensor([1.1, 2.0]).log().requires_grad_()
        >>> found = pg.rl.clipped_surrogate(pg.rl.Ratios(log), -torch.ones(2))
        >>> found.loss.sum().backward()
        >>> log.grad, found.clipped, found.unbiased
        (tensor([-1.1000,  0.0000]), 0.5, False)
    """

    loss: Tensor
    clipped: float
    unbiased: ClassVar[bool] = False


def clipped_surrogate(
    ratios: Ratios, cost: Tensor, *, clip: float = 0.2, mask: Tensor | None = None
) -> ClippedSurrogate:
    """``max(ratio * cost, clip(ratio, 1 - clip, 1 + clip) * cost)``: PPO's loss.

    Schulman et al. (2017), equation 7, for costs: with ``cost = -advantage`` it is
    minus theirs. As long as the policy is the one that recorded the rollouts, all
    ratios are one and the gradient is that of :func:`pgplugins.surrogate`. After a step
    it is **biased**, in two ways: states and advantages remain the old policy's, and a
    ratio that has left ``[1 - clip, 1 + clip]`` in the direction that the cost asks for
    gets no gradient any more.

    Args:
        ratios: Step by step, from :func:`pgplugins.rl.importance_ratios`.
        cost: Minus the advantages, shape ``(time, *batch)``; detached here.
        clip: In (0, 1).
        mask: False at steps that do not count, same shape, bool.

    Returns:
        The loss of each step, and the share of steps that are clipped.

    Raises:
        InputError: ``clip`` lies outside of (0, 1).
        InputTypeError: The mask or the cost is of another kind.
        ShapeError: The shapes differ.
        NotFiniteError: A cost that counts is not finite.

    Example:
        >>> import torch
        >>> from pgplugins.rl import Ratios
        >>> ratios = Ratios(torch.tensor([1.0, 1.5, 1.5]).log())
        >>> found = clipped_surrogate(ratios, torch.tensor([1.0, 1.0, -1.0]))
        >>> found.loss, round(found.clipped, 2), found.unbiased
        (tensor([ 1.0000,  1.5000, -1.2000]), 0.33, False)
    """
    within(clip, "clip", 1e-12, 1.0, below=True)
    require_steps(
        "clipped_surrogate", {"ratios": ratios.log, "cost": cost, "mask": mask}
    )
    require_flags("clipped_surrogate", {"mask": mask})
    live = torch.ones_like(cost, dtype=torch.bool) if mask is None else mask
    held = real_cost(cost.detach(), "The recorded cost").where(live, 0.0)
    require_finite(held, "The recorded cost")
    ratio = ratios.value
    plain, kept = ratio * held, ratio.clamp(1 - clip, 1 + clip) * held
    share = (kept > plain)[live].float().mean().item()
    return ClippedSurrogate(torch.maximum(plain, kept).where(live, 0.0), share)
