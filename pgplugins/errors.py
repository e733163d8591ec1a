"""Every error that this library raises on purpose, and the warnings.

All errors derive from :class:`PgpluginsError`, so one ``except`` clause catches
them; each is also a ``ValueError``, ``TypeError`` or ``RuntimeError``, whichever fits.
Messages say what was asked, what was found and what to write instead.
"""

from __future__ import annotations


class PgpluginsError(Exception):
    """Base class of every error that pgplugins raises on purpose."""


class InputError(PgpluginsError, ValueError):
    """An argument has a value that cannot be used."""


class InputTypeError(PgpluginsError, TypeError):
    """An argument is of a kind that cannot be used."""


class EstimatorError(PgpluginsError, ValueError):
    """An estimator does not fit what it was asked to estimate."""


class UnknownEstimatorError(PgpluginsError, ValueError):
    """No estimator is registered under the name."""


class RegistrationError(PgpluginsError, ValueError):
    """A plugin or an estimator class cannot be registered."""


class ShapeError(PgpluginsError, ValueError):
    """A tensor does not have the shape that its role asks for."""


class NotFiniteError(PgpluginsError, ValueError):
    """A cost is nan or infinite, so no gradient can be trusted."""


class FlatCostError(PgpluginsError, ValueError):
    """A pathwise estimator met a cost that varies but has no gradient."""


class ProgramError(PgpluginsError, RuntimeError):
    """A program does something that its objective cannot follow."""


class CompileError(PgpluginsError, RuntimeError):
    """A step cannot be turned into a graph that would be right at every call."""


class DistributedError(PgpluginsError, RuntimeError):
    """The processes of a distributed estimate no longer go together."""


class MissingExtraError(PgpluginsError, ImportError):
    """A package of an optional extra is not installed."""


class PgpluginsWarning(UserWarning):
    """Something works, but probably not as intended."""


class PluginWarning(PgpluginsWarning):
    """A third-party plugin was left out; ``pgplugins list`` shows why."""


class DiscontinuousCostWarning(PgpluginsWarning):
    """A cost turned out to jump where its path gradient was relied on."""


class LintWarning(PgpluginsWarning):
    """``pg.lint`` has found a mistake; the message says what to write instead."""


class CompileWarning(PgpluginsWarning):
    """A compiled step runs, but not as fast as it could."""
