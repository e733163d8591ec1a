"""Generalized advantage estimation."""

from __future__ import annotations

from torch import Tensor

from pgplugins.core.finite import require_finite
from pgplugins.core.numbers import real_cost, within
from pgplugins.rl.recording import ends_of, require_steps, summed_backwards


def gae(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    *,
    discount: float,
    decay: float,
    terminated: Tensor | None = None,
    truncated: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Generalized advantage estimates (Schulman et al. 2016, equation 16).

    ``A_t = sum_l (discount * decay)^l delta_{t+l}`` up to the episode's end, with
    ``delta_t = r_t + discount * V(s_{t+1}) - V(s_t)``, where ``V(s_{t+1})`` is zero
    after a step that terminates and is kept after one that is truncated.

    With ``decay=1`` this is ``returns(...) - values``, whose policy gradient is
    unbiased where nothing is cut off; with less it relies on the values and is
    **biased** by their errors.

    Args:
        rewards: Rewards or costs, shape ``(time, *batch)``.
        values: Values of the states in which the steps were taken, same shape.
        next_values: Values of the states that the steps led to, same shape; ignored
            after steps that terminate. At the end of a truncated episode this is the
            value of its last observation, not of the next episode's first.
        discount: In [0, 1].
        decay: The estimator's lambda, in [0, 1].
        terminated: Whether the episode is over after the step, same shape, bool.
        truncated: Whether it was cut off after the step, same shape, bool.
        mask: False at steps that are no part of an episode, same shape, bool; whatever
            they hold is ignored, and their advantage is zero.

    Returns:
        Shape ``(time, *batch)``, detached. Where the rewards are costs, so are these.

    Raises:
        InputError: A number lies outside of [0, 1], or an episode goes on into a masked
            step.
        InputTypeError: An argument is no tensor, or a flag is not bool.
        ShapeError: The shapes differ.
        NotFiniteError: A reward or a value that counts is not finite.

    Example:
        >>> import torch
        >>> rewards, values = torch.ones(3), torch.tensor([2.0, 1.0, 0.5])
        >>> following = torch.tensor([1.0, 0.5, 0.0])
        >>> gae(rewards, values, following, discount=1.0, decay=0.5)
        tensor([0.3750, 0.7500, 0.5000])
    """
    within(discount, "discount", 0.0, 1.0)
    within(decay, "decay", 0.0, 1.0)
    require_steps(
        "gae",
        {
            "rewards": rewards,
            "values": values,
            "next_values": next_values,
            "terminated": terminated,
            "truncated": truncated,
            "mask": mask,
        },
    )
    dead, ended, live = ends_of("gae", rewards, terminated, truncated, mask)
    here = values.detach().where(live, 0.0)
    require_finite(here, "A value")
    ahead = next_values.detach().where(live & ~dead, 0.0)
    require_finite(ahead, "A next value")
    earned = real_cost(rewards.detach(), "rewards").where(live, 0.0)
    require_finite(earned, "A reward")
    errors = earned + discount * ahead - here
    return summed_backwards(errors, discount * decay * (live & ~ended).to(errors))
