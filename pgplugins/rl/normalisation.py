"""Values at mean 0 and standard deviation 1."""

from __future__ import annotations

import torch
from torch import Tensor

from pgplugins.core.finite import require_finite
from pgplugins.core.numbers import real_cost
from pgplugins.core.pooling import mean_and_std
from pgplugins.distributed.collectives import Distributed, check_distributed
from pgplugins.distributed.session import one_estimate, pool_of
from pgplugins.errors import InputError, InputTypeError, ShapeError
from pgplugins.rl.recording import require_flags

_ALIKE = 8.0  # roundings by which values that are alike may seem to differ


def normalized(
    values: Tensor, *, mask: Tensor | None = None, distributed: Distributed = False
) -> Tensor:
    """Shift and scale values to mean 0 and standard deviation 1 over what counts.

    For advantages, as PPO's implementations do (Andrychowicz et al. 2021, "What
    matters in on-policy reinforcement learning"). The gradient is divided
    by the values' standard deviation: it no longer depends on the scale of the rewards,
    so that learning rates mean something else, and so do the weights of terms that are
    added (an entropy bonus, the critic's loss).

    **Biased**, by order ``1/n`` for ``n`` values that are independent of one another:
    mean and standard deviation are the batch's own, and have seen every value that they
    are applied to. The mean alone would shorten the gradient by ``1 - 1/n``.
    :func:`leave_one_out` is unbiased.

    Values that are all alike, up to rounding, become zero: there is nothing to tell
    them apart by.

    Args:
        values: Advantages, costs or returns, of any shape.
        mask: False for entries that do not count, shape of ``values``, bool; they are
            ignored, and become zero.
        distributed: The values are one part of those of all ranks (of
            ``torch.distributed``, or another engine's
            :class:`~pgplugins.distributed.Collectives`), of any shapes: one mean and
            one standard deviation for all of them.

    Returns:
        Shape of ``values``, detached. The variance has ``n - 1`` below.

    Raises:
        InputError: Fewer than two values count.
        InputTypeError: The values are no tensor, or the mask is not bool.
        ShapeError: The mask has another shape.
        NotFiniteError: A value that counts is nan or infinite.
        DistributedError: The ranks do not go together.

    Example:
        >>> import torch
        >>> advantages = torch.tensor([1.0, 2.0, 3.0, 100.0])
        >>> normalized(advantages, mask=torch.tensor([True, True, True, False]))
        tensor([-1.,  0.,  1.,  0.])
    """
    check_distributed(distributed)
    with one_estimate(distributed, "pg.rl.normalized") as session:
        if not isinstance(values, Tensor):
            raise InputTypeError(
                f"pg.rl.normalized: values is a {type(values).__name__}; write "
                "torch.as_tensor(...) of it."
            )
        require_flags("normalized", {"mask": mask})
        if mask is not None and mask.shape != values.shape:
            raise ShapeError(
                f"pg.rl.normalized: values {tuple(values.shape)} need a mask of their "
                f"shape; found {tuple(mask.shape)}."
            )
        held = real_cost(values.detach(), "values")
        counted = held.reshape(-1) if mask is None else held[mask]
        require_finite(counted, "A value")
        pool = pool_of(session)
        _, count = pool.total(held.new_zeros(()), counted.numel(), "how many count")
        if count < 2:
            raise InputError(
                f"pg.rl.normalized: {count} value counts, and a standard deviation "
                "needs two or more. Normalise a whole batch at once."
            )
        mean, std = mean_and_std(counted, pool)
        alike = std <= _ALIKE * torch.finfo(held.dtype).eps * mean.abs()
        found = torch.where(alike, 0.0, (held - mean) / std)
        return found if mask is None else found.where(mask, 0.0)
