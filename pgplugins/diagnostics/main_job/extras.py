"""What the main job needs beyond the library's own dependencies."""

from __future__ import annotations

from importlib.util import find_spec

from pgplugins.errors import MissingExtraError

_DISTRIBUTIONS = {"sklearn": "scikit-learn", "gymnasium": "gymnasium"}


def require_extras() -> None:
    """Find out before anything has run whether the main job can finish.

    Raises:
        MissingExtraError: A package is missing; the message says what to install.
    """
    missing = [d for module, d in _DISTRIBUTIONS.items() if find_spec(module) is None]
    if missing:
        raise MissingExtraError(
            f"The main job needs {' and '.join(missing)}: "
            'pip install "pgplugins[examples]".'
        )
