"""Estimators by name: the functions that the rest of the library calls."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

from pgplugins.core.estimator import Estimator
from pgplugins.core.problem import Problem
from pgplugins.errors import InputError, InputTypeError, UnknownEstimatorError
from pgplugins.plugins.catalogue import ALIASES, THIS_PROCESS
from pgplugins.plugins.construction import construct
from pgplugins.plugins.hookspecs import Site
from pgplugins.plugins.manager import Manager
from pgplugins.plugins.record import PluginRecord
from pgplugins.plugins.suggestion import did_you_mean
from pgplugins.plugins.validation import checked_class

E = TypeVar("E", bound=type[Estimator])

_manager = Manager()


def available() -> list[str]:
    """Return the names of all estimators, built in and installed, sorted.

    Example:
        >>> "score_function" in available()
        True
    """
    return _manager.catalogue.names


def estimator(name: str | type[Estimator] | Estimator, **options: Any) -> Estimator:
    """Return a configured estimator.

    Args:
        name: A name or an alias; a class, which is instantiated; or an instance, which
            is returned as it is.
        **options: Passed to the estimator's constructor.

    Raises:
        UnknownEstimatorError: Nothing is registered under the name.
        InputError: An option is unknown or missing, or comes with an instance.
        InputTypeError: ``name`` is none of the three.

    Example:
        >>> estimator("reinforce").name
        'score_function'
        >>> estimator("score_function", basline=None)
        Traceback (most recent call last):
            ...
        pgplugins.errors.InputError: Estimator 'score_function' has no option ...
    """
    if isinstance(name, Estimator):
        if options:
            raise InputError(
                f"The options {sorted(options)} came with an instance of "
                f"{name.name!r}, which is configured already; "
                f"write pgplugins.estimator({name.name!r}, ...)."
            )
        return name
    if inspect.isclass(name):
        return construct(checked_class(name), options)
    return construct(estimator_class(name), options)


def estimator_class(name: str) -> type[Estimator]:
    """Return the class that a name or an alias stands for.

    Raises:
        UnknownEstimatorError: Nothing is registered under the name.
        InputTypeError: ``name`` is not a string.
    """
    if not isinstance(name, str):
        raise InputTypeError(
            f"An estimator is given by its name, its class or an instance; "
            f"found {name!r}."
        )
    catalogue = _manager.catalogue
    cls = catalogue.get(name)
    if cls is None:
        raise UnknownEstimatorError(
            f"There is no estimator {name!r}."
            f"{did_you_mean(name, [*catalogue.names, *ALIASES])} "
            f"Available: {', '.join(catalogue.names)}.{_left_out()}"
        )
    return cls


def register(cls: E) -> E:
    """Make an estimator's class known under its name, in this process only.

    Can stand above the class as a decorator. Registering a class twice does nothing.

    Returns:
        The class.

    Raises:
        RegistrationError: The class is incomplete, or its name belongs to another.

    Example:
        >>> register(int)
        Traceback (most recent call last):
            ...
        pgplugins.errors.RegistrationError: builtins.int is not a subclass of ...
    """
    _manager.add(cls, THIS_PROCESS)
    return cls


def plugins() -> list[PluginRecord]:
    """Return every plugin that was found, the built-in one first.

    Example:
        >>> plugins()[0].name, plugins()[0].status
        ('pgplugins', 'loaded')
    """
    return _manager.records


def problems() -> list[Problem]:
    """Return the problems with exact gradients that installed plugins offer."""
    return _manager.problems


def owner_of(name: str) -> str:
    """Return who registered an estimator: a distribution, or ``"this process"``.

    Raises:
        UnknownEstimatorError: Nothing is registered under the name.

    Example:
        >>> owner_of("score_function")
        'pgplugins'
    """
    return _manager.catalogue.owner(estimator_class(name).name)


def default_estimator(site: Site) -> str | Estimator | None:
    """Return the estimator that a plugin chooses for a site, or ``None``.

    Raises:
        InputTypeError: A plugin's answer is neither a name, an estimator nor None.
    """
    return _manager.default_estimator(site)


def _left_out() -> str:
    failed = [r.name for r in _manager.records if r.status == "failed"]
    if not failed:
        return ""
    return f" Plugins left out (`pgplugins list` says why): {', '.join(failed)}."
