"""Which recorded steps are part of an episode."""

from __future__ import annotations

import torch
from torch import Tensor

from pgplugins.rl.recording import require_flags, require_steps


def reset_steps(ended: Tensor, *, before: Tensor | None = None) -> Tensor:
    """Return where a step only reset its environment: the mask is its negation.

    Gymnasium's vector environments in the mode ``AutoresetMode.NEXT_STEP`` (the
    default) ignore the action at the step after an episode's end, and return the first
    observation of the next episode with a reward of zero. Such a step is no part of any
    episode, and its action has no consequences.

    Args:
        ended: ``terminated | truncated``, shape ``(time, *batch)``, bool.
        before: Whether the step before the recording ended an episode, shape ``batch``,
            bool: ``ended[-1]`` of the recording before. False by default, as after
            ``reset()``.

    Returns:
        Shape ``(time, *batch)``, bool.

    Raises:
        InputTypeError: An argument is not a tensor of bool.
        ShapeError: The shapes do not agree.

    Example:
        >>> import torch
        >>> reset_steps(torch.tensor([False, True, False, False, True]))
        tensor([False, False,  True, False, False])
    """
    require_steps("reset_steps", {"ended": ended})
    require_flags("reset_steps", {"ended": ended, "before": before})
    first = torch.zeros_like(ended[0]) if before is None else before
    require_steps("reset_steps", {"ended[:1]": ended[:1], "before": first[None]})
    return torch.cat([first[None], ended[:-1]])


def first_episodes(ended: Tensor) -> Tensor:
    """Return where the first episode of each environment runs, its last step included.

    For recordings of one episode per environment, in which environments that are done
    go on, or repeat themselves, until all are.

    Args:
        ended: ``terminated | truncated``, shape ``(time, *batch)``, bool.

    Returns:
        Shape ``(time, *batch)``, bool: the mask.

    Raises:
        InputTypeError: It is not a tensor of bool.
        ShapeError: It has no dimension of time.

    Example:
        >>> import torch
        >>> first_episodes(torch.tensor([False, True, False, True]))
        tensor([ True,  True, False, False])
    """
    require_steps("first_episodes", {"ended": ended})
    require_flags("first_episodes", {"ended": ended})
    return (ended.cumsum(0) - ended.long()) == 0
