"""Discounted rewards to go, and the weights that make them an exact gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from pgplugins.core.finite import require_finite
from pgplugins.core.numbers import real_cost, within
from pgplugins.rl.recording import ends_of, require_steps, summed_backwards


def returns(
    rewards: Tensor,
    *,
    discount: float,
    terminated: Tensor | None = None,
    truncated: Tensor | None = None,
    next_values: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Discounted sums of what follows each step: ``G_t = r_t + discount * G_{t+1}``.

    A sum ends with its episode. After a step that terminates nothing follows. After one
    that is truncated (a time limit), and after the last of the recording, the episode
    would have gone on: ``next_values`` stand for what is missing. Without them it
    counts as zero, which is right where the objective itself ends there.

    The discount counts from the step, as is usual. For the gradient of the discounted
    objective, step ``t`` of an episode has to count ``discount ** t`` besides: see
    :func:`discounts`.

    Args:
        rewards: Rewards or costs, shape ``(time, *batch)``.
        discount: In [0, 1].
        terminated: Whether the episode is over after the step, same shape, bool.
        truncated: Whether it was cut off after the step, same shape, bool.
        next_values: Values of the state that the step led to, same shape; read where an
            episode is cut off, and nowhere else. After a truncation this is the value
            of the episode's last observation, not of the next episode's first.
        mask: False at steps that are no part of an episode, same shape, bool; whatever
            they hold is ignored, and their return is zero.

    Returns:
        Shape ``(time, *batch)``, detached.

    Raises:
        InputError: The discount lies outside of [0, 1], or an episode goes on into a
            masked step.
        InputTypeError: An argument is no tensor, or a flag is not bool.
        ShapeError: The shapes differ.
        NotFiniteError: A reward or a value that counts is not finite.

    Example:
        >>> rewards = torch.tensor([1.0, 1.0, 1.0, 1.0])
        >>> over = torch.tensor([False, True, False, False])
        >>> returns(rewards, discount=0.5, terminated=over)
        tensor([1.5000, 1.0000, 1.5000, 1.0000])
    """
    within(discount, "discount", 0.0, 1.0)
    require_steps(
        "returns",
        {
            "rewards": rewards,
            "terminated": terminated,
            "truncated": truncated,
            "next_values": next_values,
            "mask": mask,
        },
    )
    dead, ended, live = ends_of("returns", rewards, terminated, truncated, mask)
    values = real_cost(rewards.detach(), "rewards").where(live, 0.0)
    require_finite(values, "A reward")
    cut = ended.clone()
    cut[-1] = True
    if next_values is not None:
        ahead = next_values.detach().where(cut & ~dead & live, 0.0)
        require_finite(ahead, "A value after an episode was cut off")
        values = values + discount * ahead
    return summed_backwards(values, discount * (live & ~cut).to(values))


def discounts(
    like: Tensor,
    *,
    discount: float,
    terminated: Tensor | None = None,
    truncated: Tensor | None = None,
    mask: Tensor | None = None,
    elapsed: Tensor | None = None,
) -> Tensor:
    """``discount ** t``, where ``t`` counts the steps since the episode's start.

    The gradient of the discounted objective ``E[sum_t discount^t r_t]`` is ``E[sum_t
    discount^t G_t s_t]``, with ``G_t`` from :func:`returns` and the score ``s_t`` of
    the step (Sutton et al. 2000, theorem 1). Multiply costs by these weights to have
    it. Without them, as most programs do, late steps count as much as early ones: that
    is the gradient of no objective (Thomas 2014; Nota and Thomas 2020), though often a
    good direction, since states that come late count for something.

    Args:
        like: Any tensor of shape ``(time, *batch)``, such as the returns.
        discount: In [0, 1].
        terminated: As for :func:`returns`.
        truncated: As for :func:`returns`.
        mask: As for :func:`returns`; masked steps do not count, and weigh zero.
        elapsed: How many steps of its episode lie before the first of the recording,
            shape ``batch``; zero by default.

    Returns:
        Shape ``(time, *batch)``.

    Raises:
        InputError: As :func:`returns`.
        InputTypeError: As :func:`returns`.
        ShapeError: The shapes differ.

    Example:
        >>> import torch
        >>> over = torch.tensor([False, True, False, False])
        >>> discounts(torch.zeros(4), discount=0.5, terminated=over)
        tensor([1.0000, 0.5000, 1.0000, 0.5000])
    """
    within(discount, "discount", 0.0, 1.0)
    shape = require_steps(
        "discounts",
        {
            "like": like,
            "terminated": terminated,
            "truncated": truncated,
            "mask": mask,
            "elapsed": None if elapsed is None else elapsed.expand(like.shape),
        },
    )
    _, ended, live = ends_of("discounts", like, terminated, truncated, mask)
    age = torch.zeros(shape[1:]).to(real_cost(like, "like"))
    if elapsed is not None:
        age = age + elapsed
    weights = []
    for t in range(shape[0]):
        weights.append(torch.where(live[t], discount**age, 0.0))
        age = torch.where(ended[t], 0.0, age + live[t])
    return torch.stack(weights)
