"""Baselines from the other members of a group."""

from __future__ import annotations

import torch
from torch import Tensor

from pgplugins.core.finite import require_finite
from pgplugins.core.numbers import real_cost
from pgplugins.core.pooling import group_totals
from pgplugins.distributed.collectives import Distributed, check_distributed
from pgplugins.distributed.session import one_estimate, pool_of
from pgplugins.errors import InputError, InputTypeError, ShapeError
from pgplugins.rl.recording import require_flags


def leave_one_out(
    values: Tensor,
    groups: Tensor,
    *,
    mask: Tensor | None = None,
    alone: float | None = None,
    distributed: Distributed = False,
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
        distributed: The members are one part of those of all ranks (of
            ``torch.distributed``, or another engine's
            :class:`~pgplugins.distributed.Collectives`), divided evenly or not: an id
            stands for the same group on all of them. ``lead`` has to be alike.

    Returns:
        Shape of ``values``, detached.

    Raises:
        InputError: A group has a single member, and ``alone`` does not say what then.
        InputTypeError: The ids are no integers, or the mask is not bool.
        ShapeError: The shapes do not agree.
        NotFiniteError: A member's value is nan or infinite.
        DistributedError: The ranks do not go together.

    Example:
        >>> import torch
        >>> returns = torch.tensor([1.0, 10.0, 3.0, 20.0, 5.0])
        >>> leave_one_out(returns, torch.tensor([7, 2, 7, 2, 7]))
        tensor([ 4., 20.,  3., 10.,  2.])
    """
    check_distributed(distributed)
    with one_estimate(distributed, "pg.rl.leave_one_out") as session:
        live = _members(values, groups, mask)
        held = real_cost(values.detach(), "values").where(live, 0.0)
        require_finite(held, "A member's value")
        rows = (*held.shape[: held.dim() - groups.dim()], groups.numel())
        total, size = group_totals(
            held.reshape(rows),
            groups.reshape(-1),
            pool_of(session),
            live.reshape(rows),
        )
        others = size.reshape(held.shape) - 1
        if alone is None:
            _require_others(live & (others == 0), groups)
        mean = (total.reshape(held.shape) - held) / others.clamp_min(1)
        mean = mean.where(others > 0, 0.0 if alone is None else alone)
        return mean.where(live, 0.0)


def _members(values: Tensor, groups: Tensor, mask: Tensor | None) -> Tensor:
    """Return which values are members', shape of ``values``.

    Raises:
        InputTypeError: The ids are no integers, or the mask is not bool.
        ShapeError: The shapes do not agree.
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
    return torch.ones_like(values, dtype=torch.bool) if mask is None else mask


def _require_others(single: Tensor, groups: Tensor) -> None:
    """Raise if a member is the only one of its group.

    Raises:
        InputError: Naming the first one.
    """
    if single.any():
        member = tuple(single.nonzero()[0, single.dim() - groups.dim() :].tolist())
        place = member[0] if len(member) == 1 else member
        raise InputError(
            f"pg.rl.leave_one_out: member {place} of group {int(groups[member])} "
            "has no others in its group to take a mean of. Roll out at least two per "
            "group, or write alone=0.0 for no baseline there."
        )
