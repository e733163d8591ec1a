"""What a new plugin and its parts are called."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from typing import Final

from pgplugins.errors import InputError
from pgplugins.plugins import ALIASES, available, owner_of

LONGEST: Final = 25
"""What a name may have of characters, so that generated lines fit 88 columns."""


@dataclass(frozen=True)
class Names:
    """The names that follow from an estimator's.

    Args:
        estimator: A lower-case identifier.

    Example:
        >>> names = Names("two_point")
        >>> names.distribution, names.package, names.class_name
        ('pgplugins-two-point', 'pgplugins_two_point', 'TwoPoint')
    """

    estimator: str

    @property
    def distribution(self) -> str:
        """What ``pip`` installs."""
        return f"pgplugins-{self.estimator.replace('_', '-')}"

    @property
    def package(self) -> str:
        """What is imported."""
        return f"pgplugins_{self.estimator}"

    @property
    def class_name(self) -> str:
        """The estimator's class."""
        return "".join(part.capitalize() for part in self.estimator.split("_"))


def names_for(written: str) -> Names:
    """Return the names of a plugin for a new estimator.

    Args:
        written: The estimator's name; capitals, dashes, dots and spaces may stand where
            the name will have small letters and underscores.

    Raises:
        InputError: It is no identifier, or another estimator or an installed package
            has the name.

    Example:
        >>> names_for("Two-Point").estimator
        'two_point'
        >>> names_for("2point")
        Traceback (most recent call last):
            ...
        pgplugins.errors.InputError: '2point' cannot name an estimator: ...
    """
    estimator = _normalized(written)
    if estimator.startswith("pgplugins_"):
        raise InputError(
            f"{written!r}: the package is called pgplugins-NAME by itself; write "
            f"{estimator.removeprefix('pgplugins_').replace('_', '-')}."
        )
    names = Names(estimator)
    if not _is_name(names):
        raise InputError(
            f"{written!r} cannot name an estimator: a name is made of letters, digits "
            "and single underscores, begins with a letter, is no word of Python's and "
            f"has at most {LONGEST} characters; write one such as "
            f"{_suggestion(estimator)}."
        )
    _require_free(names)
    return names


def _normalized(written: str) -> str:
    """Spell a name as the packaging standard does (PEP 503), with underscores."""
    return re.sub(r"[-_.\s]+", "_", written.strip()).lower()


def _is_name(names: Names) -> bool:
    name = names.estimator
    return (
        re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) is not None
        and len(name) <= LONGEST
        and not keyword.iskeyword(name)
        and not keyword.iskeyword(names.class_name)
    )


def _suggestion(estimator: str) -> str:
    kept = re.sub(r"[^a-z0-9_]", "", estimator).lstrip("_0123456789")[:LONGEST]
    tries = [kept.rstrip("_"), f"my_{kept}", "my_estimator"]
    return next(name for name in tries if _is_name(Names(name)))


def _require_free(names: Names) -> None:
    name = names.estimator
    if name in ALIASES or name in available():
        known = f"an alias of {ALIASES[name]!r}" if name in ALIASES else "an estimator"
        raise InputError(
            f"The name {name!r} is taken: it is {known} (owner: {owner_of(name)}). "
            f"Write another one, such as my_{name}."
        )
    try:
        version = distribution(names.distribution).version
    except PackageNotFoundError:
        return
    raise InputError(
        f"The name {name!r} is taken: {names.distribution} {version} is installed. "
        f"Write another one, such as my_{name}, or uninstall that package."
    )
