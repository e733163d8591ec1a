"""Values that must hold: costs are finite, terms are zero, draws are kept."""

from __future__ import annotations

from torch import Tensor

from pgplugins.core.estimator import Estimator
from pgplugins.core.learning import is_tracing
from pgplugins.errors import EstimatorError, NotFiniteError, ProgramError


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
    if is_tracing() or value.isfinite().all():
        return
    bad = value.isnan()
    kind = "nan" if bad.any() else "infinite"
    count = int(bad.sum()) if kind == "nan" else int((~value.isfinite()).sum())
    raise NotFiniteError(
        f"{what} is {kind} in {count} of {value.numel()} entries, so its gradient "
        "cannot be trusted. Look for log(0), a division by zero, or a value outside "
        "the distribution's support."
    )


def require_zero(term: Tensor, estimator: Estimator) -> None:
    """Raise unless a gradient term is zero in value, as the contract says.

    Raises:
        EstimatorError: Naming the estimator, with the remedy.
    """
    # The term of a cost that is not finite is nan, and the cost is what to name.
    value = term.detach()
    if value.any() and value.nan_to_num(0.0, 0.0, 0.0).any():
        raise EstimatorError(
            f"{type(estimator).__name__}.gradient_term returned a tensor whose value "
            "is not zero, which would change the estimate itself. Write "
            "draw.score_term(cost)[0], or subtract the term's own .detach()."
        )


def version_of(value: Tensor) -> int:
    """Return how often a tensor's memory was written into, as far as torch counts."""
    return 0 if value.is_inference() else value._version


def require_unwritten(value: Tensor, version: int, where: str) -> None:
    """Raise if a draw was written into: its density would be another value's.

    Args:
        value: What was drawn.
        version: Its version when it was drawn.
        where: The site, for the message.

    Raises:
        ProgramError: With the remedy.

    Example:
        >>> import torch
        >>> x = torch.zeros(2)
        >>> before = version_of(x)
        >>> x += 1
        >>> require_unwritten(x, before, "site 'x'")
        Traceback (most recent call last):
            ...
        pgplugins.errors.ProgramError: The draw of site 'x' was written into...
    """
    if version_of(value) != version:
        raise ProgramError(
            f"The draw of {where} was written into (x += ..., x[...] = ..., a function "
            "whose name ends in _), so that its density would be that of another "
            "value. Write x = x + ..., or work on x.clone()."
        )
