"""The "did you mean" of error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return a question that names the closest of ``names``, or an empty string.

    Example:
        >>> did_you_mean("temprature", ["temperature", "size"])
        " Did you mean 'temperature'?"
        >>> did_you_mean("xyz", ["temperature", "size"])
        ''
    """
    close = difflib.get_close_matches(word, list(names), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
