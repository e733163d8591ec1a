"""Costs must be finite: no gradient of nan can be trusted."""

from __future__ import annotations

from torch import Tensor

from pgplugins.errors import NotFiniteError


def require_finite(value: Tensor, what: str) -> None:
    """Raise unless every entry is finite.

    Raises:
        NotFiniteError: Naming what is not, and how many entries of it.

    Example:
        >>> import torch
        >>> require_finite(torch.tensor([1.0, float("nan")]), "The cost")
        Traceback (most recent call last):
            ...
        pgplugins.errors.NotFiniteError: The cost is nan in 1 of 2 entries...
    """
    if value.isfinite().all():
        return
    bad = value.isnan()
    kind = "nan" if bad.any() else "infinite"
    count = int(bad.sum()) if kind == "nan" else int((~value.isfinite()).sum())
    raise NotFiniteError(
        f"{what} is {kind} in {count} of {value.numel()} entries, so its gradient "
        "cannot be trusted. Look for log(0), a division by zero, or a value outside "
        "the distribution's support."
    )
