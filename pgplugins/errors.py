"""Every error that this library raises on purpose, and the warnings.

All errors derive from :class:`PgpluginsError`, so one ``except`` clause catches
them; each is also a ``ValueError``, ``TypeError`` or ``RuntimeError``, whichever fits.
Messages say what was asked, what was found and what to write instead.
"""

from __future__ import annotations


class PgpluginsError(Exception):
    """Base class of every error that pgplugins raises on purpose.

    Example:
        >>> import pgplugins as pg
        >>> try:
        ...     pg.estimator("reinforc")
        ... except pg.PgpluginsError as error:
        ...     print(error)
        There is no estimator 'reinforc'. Did you mean 'reinforce'? Available: ...
    """


class InputError(PgpluginsError, ValueError):
    """An argument has a value that cannot be used.

    Example:
        >>> import torch, pgplugins as pg
        >>> d = torch.distributions.Normal(0.0, 1.0)
        >>> pg.expectation(torch.square, d, num_samples=0)
        Traceback (most recent call last):
            ...
        pgplugins.errors.InputError: num_samples=0: write a positive integer.
    """


class InputTypeError(PgpluginsError, TypeError):
    """An argument is of a kind that cannot be used.

    Example:
        >>> import torch, pgplugins as pg
        >>> pg.expectation(torch.square, torch.distributions.Normal)  # not an instance
        Traceback (most recent call last):
            ...
        pgplugins.errors.InputTypeError: pg.expectation(cost, dist) takes a ...
    """


class EstimatorError(PgpluginsError, ValueError):
    """An estimator does not fit what it was asked to estimate.

    Example:
        >>> import torch, pgplugins as pg
        >>> counts = torch.distributions.Poisson(3.0)  # which has no rsample
        >>> pg.expectation(torch.square, counts, estimator="reparameterized")
        Traceback (most recent call last):
            ...
        pgplugins.errors.EstimatorError: estimator 'reparameterized' does not fit: ...
    """


class UnknownEstimatorError(PgpluginsError, ValueError):
    """No estimator is registered under the name.

    Example:
        >>> import pgplugins as pg
        >>> pg.ELBO(estimators={"z": "enumerat"})
        Traceback (most recent call last):
            ...
        pgplugins.errors.UnknownEstimatorError: There is no estimator 'enumerat'. ...
    """


class RegistrationError(PgpluginsError, ValueError):
    """A plugin or an estimator class cannot be registered.

    Example:
        >>> import pgplugins as pg
        >>> @pg.register
        ... class Nameless(pg.Estimator):
        ...     traits = pg.Traits(unbiased=True)
        Traceback (most recent call last):
            ...
        pgplugins.errors.RegistrationError: ...Nameless has no name; give the class ...
    """


class ShapeError(PgpluginsError, ValueError):
    """A tensor does not have the shape that its role asks for.

    Example:
        >>> import torch, pgplugins as pg
        >>> d = torch.distributions.Normal(torch.zeros(3), 1.0)
        >>> pg.expectation(lambda x: x.sum(-1, keepdim=True), d, num_samples=8)
        Traceback (most recent call last):
            ...
        pgplugins.errors.ShapeError: The cost has shape (8, 1); ... it must be (8, 3)...
    """


class NotFiniteError(PgpluginsError, ValueError):
    """A cost is nan or infinite, so no gradient can be trusted.

    Example:
        >>> import torch, pgplugins as pg
        >>> d = torch.distributions.Bernoulli(torch.tensor(0.5))
        >>> pg.expectation(torch.log, d, estimator="enumerate")  # log(0)
        Traceback (most recent call last):
            ...
        pgplugins.errors.NotFiniteError: The cost is infinite in 1 of 2 entries, ...
    """


class FlatCostError(PgpluginsError, ValueError):
    """A pathwise estimator met a cost that varies but has no gradient.

    Example:
        >>> import torch, pgplugins as pg
        >>> d = torch.distributions.Normal(torch.tensor(0.0, requires_grad=True), 9.0)
        >>> pg.expectation(torch.round, d, num_samples=100).backward()
        Traceback (most recent call last):
            ...
        pgplugins.errors.FlatCostError: The cost differs between draws of Normal, ...
    """


class ProgramError(PgpluginsError, RuntimeError):
    """A program does something that its objective cannot follow.

    Example:
        >>> import torch, pgplugins as pg
        >>> pg.cost("loss", torch.tensor(1.0))
        Traceback (most recent call last):
            ...
        pgplugins.errors.ProgramError: pg.cost('loss', ...) ran outside a program ...
    """


class CompileError(PgpluginsError, RuntimeError):
    """A step cannot be turned into a graph that would be right at every call.

    Example:
        >>> import torch, pgplugins as pg
        >>> w = torch.tensor(1.0, requires_grad=True)
        >>> @pg.compile
        ... def loss():
        ...     return w**2 if w > 0 else -w
        >>> loss()
        Traceback (most recent call last):
            ...
        pgplugins.errors.CompileError: ...the program turns a value into a Python ...
    """


class DistributedError(PgpluginsError, RuntimeError):
    """The processes of a distributed estimate no longer go together.

    Example:
        >>> import torch, pgplugins as pg
        >>> d = torch.distributions.Normal(torch.zeros(2), 1.0)
        >>> actions, costs = torch.tensor([0.5, -0.5]), torch.tensor([1.0, 3.0])
        >>> pg.surrogate(d, actions, costs, distributed=True)  # not under torchrun
        Traceback (most recent call last):
            ...
        pgplugins.errors.DistributedError: distributed=True needs a process group, ...
    """


class MissingExtraError(PgpluginsError, ImportError):
    """A package of an optional extra is not installed.

    Example:
        >>> from unittest.mock import patch
        >>> from pgplugins.diagnostics.main_job.extras import require_extras
        >>> with patch.dict("sys.modules", {"sklearn": None}):  # as if it were missing
        ...     require_extras()  # as ``pgplugins compare`` does first
        Traceback (most recent call last):
            ...
        pgplugins.errors.MissingExtraError: The main job needs scikit-learn: pip ...
    """


class PgpluginsWarning(UserWarning):
    """Something works, but probably not as intended.

    Example:
        >>> import warnings, torch, pgplugins as pg
        >>> d = torch.distributions.Normal(torch.tensor(0.0, requires_grad=True), 1.0)
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("error", pg.PgpluginsWarning)  # stop at any
        ...     with pg.lint():
        ...         x = d.rsample()
        ...         (x.detach() * d.log_prob(x)).backward()
        Traceback (most recent call last):
            ...
        pgplugins.errors.LintWarning: attached-score: ...
    """


class PluginWarning(PgpluginsWarning):
    """A third-party plugin was left out; ``pgplugins list`` shows why.

    Example:
        >>> import warnings, pgplugins as pg
        >>> with warnings.catch_warnings():
        ...     # A program that must not run without its plugins stops here.
        ...     warnings.simplefilter("error", pg.errors.PluginWarning)
        ...     names = pg.available()
    """


class DiscontinuousCostWarning(PgpluginsWarning):
    """A cost turned out to jump where its path gradient was relied on.

    Example:
        >>> import warnings, torch, pgplugins as pg
        >>> _ = torch.manual_seed(0)
        >>> mu, hybrid = torch.tensor(1.0, requires_grad=True), pg.estimator("hybrid")
        >>> d = torch.distributions.Normal(mu, 1.0)
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     for _ in range(200):
        ...         cost = lambda x: x**2 + 3 * (x > 0.5)  # it jumps by 3 at 0.5
        ...         pg.expectation(cost, d, estimator=hybrid, num_samples=64).backward()
        >>> print(caught[0].message)
        Estimator "hybrid" at Normal: The past draws' score and path gradients differ...
    """


class LintWarning(PgpluginsWarning):
    """``pg.lint`` has found a mistake; the message says what to write instead.

    Example:
        >>> import warnings, torch, pgplugins as pg
        >>> d = torch.distributions.Normal(torch.tensor(0.0, requires_grad=True), 1.0)
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     with pg.lint():
        ...         x = d.rsample()
        ...         (x.detach() * d.log_prob(x)).backward()
        >>> print(caught[0].message)
        attached-score: A cost is multiplied with log_prob(x), but x = rsample() is ...
    """


class CompileWarning(PgpluginsWarning):
    """A compiled step runs, but not as fast as it could.

    Example:
        >>> import warnings, torch, pgplugins as pg
        >>> from unittest.mock import patch
        >>> from torch._inductor import config, cpp_builder, exc
        >>> missing = {"side_effect": exc.InvalidCxxCompiler}  # as if there were none
        >>> w = torch.tensor(3.0, requires_grad=True)
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     with (
        ...         patch.object(cpp_builder, "get_cpp_compiler", **missing),
        ...         config.patch(force_disable_caches=True),
        ...     ):
        ...         loss = pg.compile(lambda: w**2)()
        >>> loss.item(), str(caught[-1].message)
        (9.0, 'No C++ compiler was found, so compiled steps run their traced ...')
    """
