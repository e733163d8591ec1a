"""Paths that a program cuts: said by the program, heard by whoever has to know."""

from __future__ import annotations

from typing import Any

from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import am_i_wrapped, apply_stack


def tell_truncation() -> None:
    """Tell the handlers around a program that it has just cut a path."""
    msg: dict[str, Any] = {
        "type": "pgplugins_truncation",
        "name": "truncate",
        "fn": lambda: None,
        "is_observed": False,
        "args": (),
        "kwargs": {},
        "value": None,
        "infer": {},
        "scale": 1.0,
        "mask": None,
        "cond_indep_stack": (),
        "done": True,
        "stop": False,
        "continuation": None,
    }
    if am_i_wrapped():
        apply_stack(msg)  # type: ignore[arg-type]


class Truncations(Messenger):
    """Hears whether a program has cut a path.

    Example:
        >>> with Truncations() as heard:
        ...     tell_truncation()
        >>> heard.any
        True
    """

    def __init__(self) -> None:
        """Start with none."""
        super().__init__()
        self.any = False

    def _pyro_pgplugins_truncation(self, msg: Any) -> None:
        self.any = True
