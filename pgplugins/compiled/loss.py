"""A loss whose value and gradient come from one compiled graph."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.infer.util import is_validation_enabled
from torch import Tensor

from pgplugins.compiled.lowering import lower
from pgplugins.compiled.origins import Marking, Origins
from pgplugins.compiled.progress import compiling
from pgplugins.compiled.rehearsal import rehearsal
from pgplugins.compiled.signature import Call, Likeness, Surroundings, read
from pgplugins.compiled.state import EstimatorState, Unsettled, Use
from pgplugins.compiled.step import Step
from pgplugins.compiled.tracing import Result, difference, trace
from pgplugins.core.finite import require_finite
from pgplugins.errors import CompileError, ShapeError
from pgplugins.infer.noted import noting_again

_PATIENCE = 5  # calls in which the state of estimators may take its shape


class _Compiled(NamedTuple):
    step: Step
    leaves: list[Tensor]
    by_argument: list[int]
    surroundings: Surroundings
    validated: bool
    params: list[tuple[str, Tensor]]


class CompiledLoss:
    """Calls a function as a compiled graph; made by :func:`pgplugins.compile`.

    The gradient is computed with the value. It is right to the first order, for all
    leaves that the loss depends on and for arguments that require a gradient.

    Args:
        function: Returns a scalar loss.

    Example:
        The expectation of ``sum (x - target)^2`` for x ~ N(mu, 1) has the gradient
        ``2 (mu - target)`` for mu; the target is an argument, so that it may change:

        >>> import torch, pgplugins as pg
        >>> mu = torch.zeros(2, requires_grad=True)
        >>> @pg.compile
        ... def loss(target):
        ...     d = torch.distributions.Normal(mu, 1.0).expand([2])
        ...     cost = lambda x: ((x - target) ** 2).sum(-1)
        ...     return pg.expectation(cost, d, num_samples=10_000)
        >>> _ = torch.manual_seed(0)
        >>> loss(torch.tensor([1.0, -3.0])).backward()
        >>> mu.grad.round().tolist()
        [-2.0, 6.0]
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        """Compile nothing yet: the first call shows the arguments."""
        self._function = function
        self._known: dict[Hashable, _Compiled] = {}
        self._unsettled = 0
        # The latest call whose arguments were tensors alone: most calls are like it.
        self._latest: tuple[Likeness, _Compiled] | None = None
        self.compile_seconds = 0.0
        """How long tracing and compiling have taken so far."""

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the loss; ``backward()`` passes its gradient on.

        The first call with arguments of new shapes compiles.

        Args:
            args: What the function is called with. Graphs are kept by the shapes of
                tensors and the values of everything else.
            kwargs: Likewise.

        Returns:
            A scalar.

        Raises:
            CompileError: What the function does depends on the values of tensors, or
                changes from call to call.
            ShapeError: The loss is no scalar.
            NotFiniteError: The loss is nan or infinite (with validation on).
        """
        compiled, tensors = self._find(args, kwargs)
        if compiled is None:
            return self._function(*args, **kwargs)
        value, others = compiled.step.run([tensor.detach() for tensor in tensors])
        if compiled.validated and not math.isfinite(value.item()):
            compiled.step.go_on()
            require_finite(value, "The loss of a compiled function")
        if compiled.step.learns:
            compiled.step.learn(others)
        wanted = [*compiled.leaves, *(tensors[i] for i in compiled.by_argument)]
        gradients = others[: len(wanted)]
        loss: Tensor = _Differentiated.apply(  # type: ignore[no-untyped-call]
            value, gradients, *wanted
        )
        return loss

    def _find(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[_Compiled | None, Sequence[Tensor]]:
        """Return a graph that is right for such arguments, and the tensors in them.

        There is none while the state of an estimator has not taken its shape.
        """
        latest = self._latest
        if latest is not None and not kwargs and latest[0](*args):
            compiled = latest[1]
            if _is_current(compiled):
                return compiled, args
        call = read(args, kwargs)
        found = self._known.get(call.key)
        if found is None or not _is_current(found):
            found = self._prepare(call, args, kwargs)
        if found is not None and not kwargs and all(type(a) is Tensor for a in args):
            self._latest = Likeness(args), found
        return found, call.tensors

    def _prepare(
        self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _Compiled | None:
        """Compile a call; ``None`` if the state of estimators has no shape yet."""
        started = time.perf_counter()
        by_argument = [i for i, t in enumerate(call.tensors) if t.requires_grad]
        arguments = [tensor.detach() for tensor in call.tensors]
        with compiling() as show:
            # Apart from the program's own use of the same tensors.
            given = [tensor.detach() for tensor in call.tensors]
            for i in by_argument:
                given[i].requires_grad_()
            apart, named = call.arguments(given)
            with rehearsal() as shown, torch.enable_grad():
                with poutine.trace(param_only=True) as capture:
                    loss = self._function(*apart, **named)
                _require_scalar(loss)
            params = [
                (name, site["value"].unconstrained())  # type: ignore[union-attr]
                for name, site in capture.trace.nodes.items()
            ]
            own = {id(tensor) for tensor in given}
            leaves = [leaf for leaf in _leaves(loss) if id(leaf) not in own]
            surroundings = Surroundings(self._function)
            state = EstimatorState(shown.estimators)
            uses: list[Use] = []

            def both(*tensors: Tensor) -> Result:
                attached = list(tensors)
                for i in by_argument:
                    attached[i] = attached[i].detach().requires_grad_()
                args, kwargs = call.arguments(attached)
                with state.used() as use, Marking(origins):
                    value = self._function(*args, **kwargs)
                    wanted = [*leaves, *(attached[i] for i in by_argument)]
                    found = torch.autograd.grad(value, wanted, allow_unused=True)
                uses.append(use)
                gradients = [
                    torch.zeros_like(w) if g is None else g
                    for w, g in zip(wanted, found, strict=True)
                ]
                return Result([value, *gradients], use.writes)

            traces = []
            try:
                for _ in range(2):
                    origins = Origins(state.tensors)
                    with noting_again(shown.notes):
                        traces.append(trace(both, arguments, origins))
            except Unsettled:
                self._unsettled += 1
                if self._unsettled > _PATIENCE:
                    raise
                return None
            self._unsettled = 0
            changed = difference(*traces)
            if changed is not None:
                raise CompileError(
                    "The function does something else at every call, which one graph "
                    f"cannot hold: {changed}. Numbers that change have to be tensors "
                    "that are passed as arguments."
                )
            validated = is_validation_enabled()
            show("compiling")
            lowered = lower(traces[-1], arguments, keep_if_not_finite=validated)
        self.compile_seconds += time.perf_counter() - started
        compiled = self._known[call.key] = _Compiled(
            Step(traces[-1], lowered, uses[-1], origins.answers),
            leaves,
            by_argument,
            surroundings,
            validated,
            params,
        )
        return compiled


def _is_current(compiled: _Compiled) -> bool:
    store = pyro.get_param_store()._params
    return (
        all(store.get(name) is param for name, param in compiled.params)
        and compiled.step.fits()
        and not compiled.surroundings.changed
        and compiled.validated == is_validation_enabled()
    )


def _require_scalar(loss: object) -> None:
    if isinstance(loss, Tensor) and loss.dim() == 0 and loss.requires_grad:
        return
    found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
    if isinstance(loss, Tensor) and loss.dim() == 0:
        found = "a scalar that depends on nothing that requires a gradient"
    raise ShapeError(
        "pg.compile(function): the function has to return a scalar loss with a "
        f"gradient; found {found}. Write .sum() or .mean() inside of it."
    )


def _leaves(loss: Tensor) -> Iterator[Tensor]:
    """Yield the leaves that a loss has a gradient for."""
    seen: set[object] = set()
    waiting: list[Any] = [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            yield leaf
        waiting.extend(parent for parent, _ in node.next_functions)


class _Differentiated(torch.autograd.Function):
    """A value whose gradients have been computed already."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, gradients: Sequence[Tensor], *wanted: Tensor
    ) -> Tensor:
        ctx.save_for_backward(*gradients)
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return None, None, *(gradient * known for known in ctx.saved_tensors)
