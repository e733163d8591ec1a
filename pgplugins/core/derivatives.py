"""Second derivatives of a loss whose estimators have first ones only."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from pgplugins.core.estimator import Estimator
from pgplugins.core.learning import is_tracing
from pgplugins.errors import EstimatorError


def refuse_second(loss: Tensor, estimators: Iterable[tuple[str, Estimator]]) -> None:
    """Have ``backward`` raise if it is to be differentiated itself and cannot be.

    What such an estimator adds to the gradient is held, so a second derivative would
    lack its part of it, without a sign.

    Args:
        loss: What ``backward`` starts from.
        estimators: Where they are used, for the message, and the estimators.

    Raises:
        EstimatorError: From ``backward`` with ``create_graph=True``, where
            ``traits.order`` of an estimator is 1.

    Example:
        >>> from pgplugins.estimators.disarm import Disarm
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> loss = x**2
        >>> refuse_second(loss, [(" at site 'z'", Disarm())])
        >>> torch.autograd.grad(loss, x, create_graph=True)
        Traceback (most recent call last):
            ...
        pgplugins.errors.EstimatorError: Estimator 'disarm' at site 'z' has first ...
    """
    if not loss.requires_grad or is_tracing():
        return
    first = next((e for e in estimators if e[1].traits.order == 1), None)
    if first is None:
        return
    where, estimator = first

    def refuse(gradient: Tensor) -> None:
        if torch.is_grad_enabled():
            raise EstimatorError(
                f"Estimator {estimator.name!r}{where} has first derivatives only "
                "(traits.order is 1), and create_graph=True asks for more. Leave it "
                "out, or write an estimator of any order, such as "
                '"score_function", "reparameterized" or "enumerate".'
            )

    loss.register_hook(refuse)
