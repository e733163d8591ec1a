"""Checks of the counts that users pass."""

from __future__ import annotations

from pgplugins.errors import InputError


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
