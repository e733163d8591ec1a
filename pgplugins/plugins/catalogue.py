"""Which class each name stands for, and who owns it."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from pgplugins.core.estimator import Estimator
from pgplugins.errors import RegistrationError
from pgplugins.plugins.validation import checked_class, described

ALIASES: Final = MappingProxyType(
    {
        "pathwise": "reparameterized",
        "reinforce": "score_function",
        "reparam": "reparameterized",
    }
)
THIS_PROCESS: Final = "this process"


class Catalogue:
    """Estimator classes by name, each with its owner.

    An owner is a distribution's name, or :data:`THIS_PROCESS` for what was registered
    by hand. A name has one owner, for good.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._classes: dict[str, type[Estimator]] = {}
        self._owners: dict[str, str] = {}

    @property
    def names(self) -> list[str]:
        """All names, sorted, without aliases."""
        return sorted(self._classes)

    def get(self, name: str) -> type[Estimator] | None:
        """Return the class of a name or alias, or ``None``."""
        return self._classes.get(ALIASES.get(name, name))

    def owner(self, name: str) -> str:
        """Return the owner of a name or alias that is known."""
        return self._owners[ALIASES.get(name, name)]

    def add(self, candidates: Iterable[object], owner: str) -> tuple[str, ...]:
        """Add classes, all of them or, if one is refused, none.

        Returns:
            Their names.

        Raises:
            RegistrationError: A class is incomplete or its name is taken; the message
                names both owners.
        """
        fresh: dict[str, type[Estimator]] = {}
        for candidate in candidates:
            cls = checked_class(candidate)
            if cls.name in fresh and fresh[cls.name] is not cls:
                raise _clash(cls, owner, described(fresh[cls.name]), owner)
            self._check_free(cls, owner)
            fresh[cls.name] = cls
        for name, cls in fresh.items():
            self._classes[name] = cls
            self._owners.setdefault(name, owner)
        return tuple(fresh)

    def _check_free(self, cls: type[Estimator], owner: str) -> None:
        if cls.name in ALIASES:
            raise _clash(cls, owner, f"an alias of {ALIASES[cls.name]!r}", "pgplugins")
        holder = self._classes.get(cls.name)
        if holder is None or holder is cls:
            return
        # A notebook cell that is run again defines the same class anew.
        rerun = owner == self._owners[cls.name] == THIS_PROCESS
        if not (rerun and described(holder) == described(cls)):
            raise _clash(cls, owner, described(holder), self._owners[cls.name])


def _clash(
    cls: type[Estimator], owner: str, holder: str, holder_owner: str
) -> RegistrationError:
    return RegistrationError(
        f"{described(cls)} (owner: {owner}) asks for the name {cls.name!r}, which "
        f"already stands for {holder} (owner: {holder_owner}); "
        "give one of them another name."
    )
