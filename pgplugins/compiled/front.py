"""``pg.compile``: one call for whatever can be compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import overload

from pyro.infer import SVI
from torch import Tensor

from pgplugins.compiled.loss import CompiledLoss
from pgplugins.compiled.svi import CompiledSVI
from pgplugins.errors import InputTypeError


@overload
def compile(target: SVI) -> CompiledSVI: ...


@overload
def compile(target: Callable[..., Tensor]) -> CompiledLoss: ...


def compile(target: SVI | Callable[..., Tensor]) -> CompiledSVI | CompiledLoss:
    """Compile the steps of an inference, or a loss with its gradient.

    Model, guide, corrections of the gradient, backward pass and optimizer are traced
    as one graph with Pyro's handlers as plain Python, and compiled by torch's Inductor.
    Which costs lie downstream of which site is found on the way, and costs nothing
    afterwards. Noise differs at every step and follows ``pyro.set_rng_seed``.

    Args:
        target: A :class:`pyro.infer.SVI` with an objective of this library; or a
            function that returns a scalar loss, such as a call of
            :func:`pgplugins.expectation` or of a :class:`pgplugins.ExpectedCost`.

    Returns:
        Something with the same ``step``, and ``run`` for many of them; or the same
        function, whose result's ``backward()`` has its gradient at hand.

    Raises:
        InputTypeError: It is neither.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> import pgplugins as pg
        >>> def model():
        ...     pyro.sample("z", dist.Normal(3.0, 1.0))
        >>> def guide():
        ...     loc = pyro.param("loc", torch.tensor(0.0))
        ...     pyro.sample("z", dist.Normal(loc, 1.0))
        >>> pyro.clear_param_store()
        >>> elbo = pg.ELBO(estimators="doubly_reparameterized")  # no noise at all here
        >>> svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), elbo)
        >>> compiled = pg.compile(svi)
        >>> losses = compiled.run(200, progress=False)
        >>> round(pyro.param("loc").item(), 1)
        3.0
    """
    if isinstance(target, SVI):
        return CompiledSVI(target)
    if callable(target):
        return CompiledLoss(target)
    raise InputTypeError(
        "pg.compile takes a pyro.infer.SVI, or a function that returns a loss; found a "
        f"{type(target).__name__}."
    )
