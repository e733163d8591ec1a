"""Reinforcement learning: returns, advantages, baselines, ratios and masks.

Recorded rollouts are tensors with time first: shape ``(time, *batch)``, where ``batch``
is usually one dimension of parallel environments. :func:`pgplugins.surrogate` turns
them into a gradient; what is here makes the costs that it takes. Rewards and costs are
treated alike, and a cost is minus a reward.
"""

from pgplugins.rl.advantages import gae
from pgplugins.rl.clipping import ClippedSurrogate, clipped_surrogate
from pgplugins.rl.episodes import first_episodes, reset_steps
from pgplugins.rl.groups import leave_one_out
from pgplugins.rl.normalisation import normalized
from pgplugins.rl.ratios import Ratios, importance_ratios
from pgplugins.rl.returns import discounts, returns
from pgplugins.rl.squashing import SquashedPolicy
from pgplugins.rl.truncation import truncate

__all__ = [
    "ClippedSurrogate",
    "Ratios",
    "SquashedPolicy",
    "clipped_surrogate",
    "discounts",
    "first_episodes",
    "gae",
    "importance_ratios",
    "leave_one_out",
    "normalized",
    "reset_steps",
    "returns",
    "truncate",
]
