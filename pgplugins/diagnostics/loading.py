"""Finding what a command line names: ``my_module:objective``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from pgplugins.errors import InputError
from pgplugins.plugins.suggestion import did_you_mean


def load(target: str) -> tuple[ModuleType, Any]:
    """Import the module and return it with the attribute.

    The working directory comes first, as with ``python -m``.

    Raises:
        InputError: The text has another form, or names nothing.

    Example:
        >>> load("math:pi")[1]
        3.141592653589793
    """
    name, colon, attribute = target.partition(":")
    if not (name and colon and attribute):
        raise InputError(f"{target!r}: write MODULE:NAME, such as my_module:objective.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, and misses another
        raise InputError(
            f"{target!r}: there is no module {name!r} here or on Python's path; write "
            "its name without .py."
        ) from error
    return module, attribute_of(module, attribute)


def attribute_of(module: ModuleType, name: str) -> Any:
    """Return what a module calls ``name``.

    Raises:
        InputError: It has nothing of that name.
    """
    try:
        return getattr(module, name)
    except AttributeError as error:
        public = [other for other in vars(module) if not other.startswith("_")]
        raise InputError(
            f"Module {module.__name__!r} has no {name!r}.{did_you_mean(name, public)}"
        ) from error
