"""Checks of the numbers and flags that users pass."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pgplugins.errors import InputError, InputTypeError


def positive_integer(value: object, name: str) -> None:
    """Raise unless ``value`` is a positive integer.

    Raises:
        InputError: Naming the argument.

    Example:
        >>> positive_integer(0, "num_samples")
        Traceback (most recent call last):
            ...
        pgplugins.errors.InputError: num_samples=0: write a positive integer.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name}={value!r}: write a positive integer.")


def random_seed(value: object) -> None:
    """Raise unless ``value`` can seed the random generators.

    Raises:
        InputError: It is no integer from 0 to 2^32 - 1, NumPy's largest seed.

    Example:
        >>> random_seed("a")
        Traceback (most recent call last):
            ...
        pgplugins.errors.InputError: seed='a': write an integer from 0 to 2^32 - 1.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not 0 <= value < 2**32:  # type: ignore[operator]
        raise InputError(f"seed={value!r}: write an integer from 0 to 2^32 - 1.")


def real_cost(value: Tensor, what: str) -> Tensor:
    """Return a cost in floating point: counts and comparisons are costs.

    Raises:
        InputTypeError: It is complex, and the imaginary part would be lost.

    Example:
        >>> real_cost(torch.tensor([True, False]), "The cost")
        tensor([1., 0.])
    """
    if value.is_complex():
        raise InputTypeError(
            f"{what} is complex ({value.dtype}), and only a real number can be "
            "minimised. Write its .real or .abs()."
        )
    if value.is_floating_point():
        return value
    return value.to(torch.get_default_dtype())


def plate_nesting(value: object) -> None:
    """Raise unless ``value`` can be the largest number of nested plates.

    Raises:
        InputError: Naming the argument.

    Example:
        >>> plate_nesting(-1)
        Traceback (most recent call last):
            ...
        pgplugins.errors.InputError: max_plate_nesting=-1: write the largest number ...
    """
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not whole and value != math.inf:
        raise InputError(
            f"max_plate_nesting={value!r}: write the largest number of nested plates, "
            "0 or more, or leave it out to have it guessed."
        )


def flag(value: object, name: str) -> None:
    """Raise unless ``value`` is True or False.

    Raises:
        InputError: Naming the argument.

    Example:
        >>> flag("no", "static")
        Traceback (most recent call last):
            ...
        pgplugins.errors.InputError: static='no': write True or False.
    """
    if not isinstance(value, bool):
        raise InputError(f"{name}={value!r}: write True or False.")


def within(
    value: object, name: str, low: float, high: float = math.inf, *, below: bool = False
) -> None:
    """Raise unless ``value`` is a number from ``low`` to ``high``.

    Args:
        value: What the user passed.
        name: The argument's name.
        low: The least value.
        high: The greatest value.
        below: Exclude ``high`` itself.

    Raises:
        InputError: Naming the argument and the range.

    Example:
        >>> within(2.0, "decay", 0.0, 1.0, below=True)
        Traceback (most recent call last):
            ...
        pgplugins.errors.InputError: decay=2.0: write a number from 0.0 to below 1.0.
    """
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not low <= value <= high or (below and value == high):  # type: ignore[operator]
        top = f" to {'below ' if below else ''}{high}" if high < math.inf else " up"
        raise InputError(f"{name}={value!r}: write a number from {low}{top}.")


def positive(value: object, name: str) -> None:
    """Raise unless ``value`` is a finite number above zero.

    Raises:
        InputError: Naming the argument and what was found.
    """
    within(value, name, 0.0)
    if value == 0:
        raise InputError(f"{name}={value!r}: write a number above 0.")
