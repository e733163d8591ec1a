"""Baselines from the other members of a group."""

from __future__ import annotations

import torch
from torch import Tensor

from pgplugins.core.finite import require_finite
from pgplugins.core.numbers import real_cost
from pgplugins.errors import InputError, InputTypeError, ShapeError
from pgplugins.rl.recording import require_flags


def leave_one_out(
    values: Tensor,
    groups: Tensor,
    *,
    mask: Tensor | None = None,
    alone: float | None = None,
) -> Tensor:
    """Mean value of the *other* members of each entry's group: a baseline.

    Members are rollouts from the same start: answers to one prompt, episodes from one
    state. Given that start they have to be independent of one another; then what the
    others returned has not seen the own actions, and the baseline adds no bias (Kool,
    van Hoof and Welling 2019, equation 8; RLOO, Ahmadian et al. 2024). The mean that
    includes the own value, and the division by the group's standard deviation (GRPO,
    Shao et al. 2024), do.

    Groups are told by ids and not by their place, so that they may lie anywhere and
    have any sizes.

    Args:
        values: Costs, rewards or returns, shape ``(*lead, members)``, or with more
            dimensions of members. Entries along ``lead`` (such as time) are treated one
            by one.
        groups: The id of each member's group, integers of shape ``(members,)``: the
            last dimensions of ``values``.
        mask: False for entries that are no members, shape of ``values``, bool; their
            values are ignored, and their baseline is zero.
        alone: The baseline of a member that has no others in its group. By default
            there is none, and such a group is an error.

    Returns:
        Shape of ``values``, detached.

    Raises:
        InputError: A group has a single member, and ``alone`` does not say what then.
        InputTypeError: The ids are no integers, or the mask is not bool.
        ShapeError: The shapes do not agree.
        NotFiniteError: A member's value is nan or infinite.

    Example:
        >>> returns = torch.tensor([1.0, 10.0, 3.0, 20.0, 5.0])
        >>> leave_one_out(returns, torch.tensor([7, 2, 7, 2, 7]))
        tensor([ 4., 20.,  3., 10.,  2.])
    """
    for name, given in (("values", values), ("groups", groups)):
        if not isinstance(given, Tensor):
            raise InputTypeError(
                f"pg.rl.leave_one_out: {name} is a {type(given).__name__}; write "
                "torch.as_tensor(...) of it."
            )
    if groups.is_floating_point() or groups.is_complex() or groups.dtype == torch.bool:
        raise InputTypeError(
            f"pg.rl.leave_one_out: groups has type {groups.dtype}; write integer ids."
        )
    require_flags("leave_one_out", {"mask": mask})
    lead = values.dim() - groups.dim()
    if (
        groups.dim() == 0
        or lead < 0
        or values.shape[lead:] != groups.shape
        or (mask is not None and mask.shape != values.shape)
    ):
        raise ShapeError(
            f"pg.rl.leave_one_out: values {tuple(values.shape)} need ids of their last "
            f"dimensions and a mask of their shape; found groups {tuple(groups.shape)}"
            + ("." if mask is None else f" and a mask {tuple(mask.shape)}.")
        )
    live = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
    held = real_cost(values.detach(), "values").where(live, 0.0)
    require_finite(held, "A member's value")
    ids, place = groups.reshape(-1).unique(return_inverse=True)
    rows = held.reshape(-1, len(place))
    counted = live.reshape(-1, len(place)).to(rows)
    empty = rows.new_zeros(len(rows), len(ids))
    total = empty.index_add(1, place, rows)[:, place]
    others = empty.index_add(1, place, counted)[:, place] - counted
    single = (counted > 0) & (others == 0)
    if alone is None and single.any():
        member = int(single.nonzero()[0, 1])
        raise InputError(
            f"pg.rl.leave_one_out: member {member} of group {int(ids[place[member]])} "
            "has no others in its group to take a mean of. Roll out at least two per "
            "group, or write alone=0.0 for no baseline there."
        )
    mean = (total - rows) / others.clamp_min(1)
    mean = mean.where(others > 0, 0.0 if alone is None else alone)
    return mean.where(counted > 0, 0.0).reshape(values.shape)
