"""What a class must have before it can be registered."""

from __future__ import annotations

import inspect

from pgplugins.core.estimator import Estimator, Traits
from pgplugins.errors import RegistrationError


def described(cls: type) -> str:
    """Return the class's full name, ``module.Class``."""
    return f"{cls.__module__}.{cls.__qualname__}"


def checked_class(candidate: object) -> type[Estimator]:
    """Return ``candidate`` if it is a complete estimator class.

    Raises:
        RegistrationError: It is no class, no subclass of ``Estimator``, abstract, or
            lacks a ``name`` or ``traits``; the message names the class.

    Example:
        >>> checked_class(dict)
        Traceback (most recent call last):
            ...
        pgplugins.errors.RegistrationError: builtins.dict is not a subclass of ...
    """
    if not inspect.isclass(candidate):
        raise RegistrationError(
            f"An estimator is registered by its class; found {candidate!r}, "
            f"an instance of {described(type(candidate))}."
        )
    who = described(candidate)
    if not issubclass(candidate, Estimator):
        raise RegistrationError(
            f"{who} is not a subclass of pgplugins.Estimator; "
            f"write class {candidate.__name__}(pgplugins.Estimator)."
        )
    name = getattr(candidate, "name", None)
    if not isinstance(name, str) or not name.isidentifier():
        found = "no name" if name is None else f"name = {name!r}"
        raise RegistrationError(
            f"{who} has {found}; give the class a name that is an identifier, "
            'such as name = "my_estimator".'
        )
    traits = getattr(candidate, "traits", None)
    if not isinstance(traits, Traits):
        found = "no traits" if traits is None else f"traits = {traits!r}"
        raise RegistrationError(
            f"{who} (name {name!r}) has {found}; write "
            "traits = pgplugins.Traits(unbiased=..., needs=frozenset({...}))."
        )
    if inspect.isabstract(candidate):
        missing = ", ".join(sorted(candidate.__abstractmethods__))
        raise RegistrationError(
            f"{who} (name {name!r}) is abstract; define its missing methods: {missing}."
        )
    return candidate
