"""Stochastic variational inference with steps that are compiled graphs."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.infer import SVI
from pyro.infer.util import is_validation_enabled, zero_grads
from torch import Tensor

from pgplugins.compiled.job import Job
from pgplugins.compiled.lowering import lower
from pgplugins.compiled.progress import compiling, steps_shown
from pgplugins.compiled.rehearsal import Rehearsal, rehearsal
from pgplugins.compiled.signature import Call, Likeness, Surroundings, read
from pgplugins.compiled.state import Unsettled
from pgplugins.compiled.step import Step
from pgplugins.compiled.tracing import difference
from pgplugins.compiled.updates import Updates, updates_of
from pgplugins.core.numbers import flag, positive_integer
from pgplugins.distributed.session import NOT_OVER_RANKS
from pgplugins.errors import (
    CompileError,
    CompileWarning,
    InputTypeError,
    NotFiniteError,
)
from pgplugins.infer.elbo import ELBO

_MANY = 8  # graphs, before somebody is told that there may be one too many
_PATIENCE = 5  # runs in which the state of estimators may take its shape


class _Compiled(NamedTuple):
    """A step, and what it was compiled for."""

    step: Step
    updates: Updates | None
    params: list[tuple[str, Tensor]]
    trained: list[Tensor]
    surroundings: Surroundings
    validated: bool
    programs: tuple[object, ...]


class CompiledSVI:
    """Takes the steps of a :class:`pyro.infer.SVI` as compiled graphs.

    Made by :func:`pgplugins.compile`. Parameters stay in Pyro's store, the optimizer's
    state in the optimizer and estimators' state in the objective; all of it is up to
    date after every step, so that plain ``svi.step`` and checkpoints go on from there.

    Args:
        svi: With an objective of this library.

    Attributes:
        elbo: Its objective.

    Raises:
        InputTypeError: The objective is another one.
        CompileError: The objective is divided over ranks.

    Example:
        Steps and runs may be mixed, with one another and with plain ``svi.step``:

        >>> import pyro, pyro.distributions as dist, torch
        >>> import pgplugins as pg
        >>> data = torch.tensor([1.0, 2.0, 6.0])
        >>> def model(data):
        ...     z = pyro.sample("z", dist.Normal(0.0, 10.0))
        ...     with pyro.plate("data", len(data)):
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=data)
        >>> def guide(data):
        ...     loc = pyro.param("loc", torch.tensor(0.0))
        ...     pyro.sample("z", dist.Normal(loc, 0.1))
        >>> pyro.set_rng_seed(0)
        >>> pyro.clear_param_store()
        >>> svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), pg.ELBO())
        >>> compiled = pg.compile(svi)
        >>> first = compiled.step(data)  # compiles
        >>> losses = compiled.run(300, data, progress=False)
        >>> losses.shape, bool(losses[-100:].mean() < first)
        (torch.Size([300]), True)
        >>> loss = svi.step(data)  # goes on from there
        >>> round(pyro.param("loc").item())  # the mean of the data
        3
    """

    def __init__(self, svi: SVI) -> None:
        """Compile nothing yet: the first step shows the arguments."""
        elbo = getattr(svi.loss, "__self__", None)
        if not isinstance(elbo, ELBO):
            kind = type(svi.loss if elbo is None else elbo).__name__
            raise InputTypeError(
                f"pg.compile(svi) takes an SVI whose loss is an objective of this "
                f"library; found {kind}. Write loss=pg.ELBO(), which takes the "
                "arguments of Trace_ELBO, or pg.IWELBO() or pg.RenyiELBO()."
            )
        if elbo.distributed is not False:
            raise CompileError(NOT_OVER_RANKS)
        self.svi = svi
        self.elbo: ELBO = elbo
        self.compile_seconds = 0.0
        """How long tracing and compiling have taken so far."""
        self._known: dict[Hashable, _Compiled] = {}
        self._unsettled = 0
        # The latest call whose arguments were tensors alone: most calls are like it.
        self._latest: tuple[Likeness, _Compiled] | None = None

    def step(self, *args: Any, **kwargs: Any) -> float:
        """Take one step; as :meth:`pyro.infer.SVI.step`.

        The first step for arguments of new shapes compiles.

        Args:
            args: What model and guide are called with. Graphs are kept by the shapes
                of tensors and the values of everything else.
            kwargs: Likewise.

        Returns:
            The estimate of the loss.

        Raises:
            CompileError: What the program does depends on the values of tensors, or
                changes from call to call.
            NotFiniteError: The loss is nan or infinite (with validation on); nothing
                has changed.
        """
        compiled, tensors = self._find(args, kwargs)
        if compiled is None:
            loss: float = self.svi.step(*args, **kwargs)
            return loss
        return self._take(compiled, tensors, args, kwargs)

    def run(
        self, steps: int, *args: Any, progress: bool = True, **kwargs: Any
    ) -> Tensor:
        """Take several steps on the same arguments.

        Args:
            steps: How many.
            args: As for :meth:`step`.
            progress: Show a progress bar, on a terminal.
            kwargs: As for :meth:`step`.

        Returns:
            The losses, shape ``(steps,)``.

        Raises:
            CompileError: As :meth:`step`.
            NotFiniteError: As :meth:`step`; the steps before have been taken.
        """
        positive_integer(steps, "steps")
        flag(progress, "progress")
        losses: list[Tensor] = []
        with steps_shown(steps, progress) as show:
            left = steps
            while left > 0:
                compiled, tensors = self._find(args, kwargs)
                if compiled is None:
                    losses.append(torch.tensor([self.svi.step(*args, **kwargs)]))
                    taken = 1
                else:
                    taken = min(left, compiled.step.at_once)
                    part = self._take_many(compiled, taken, tensors, args, kwargs)
                    losses.append(part)
                    taken = len(part)
                left -= taken
                show(taken, losses[-1])
        like = losses[-1]
        return torch.cat([part.to(like) for part in losses])

    def _find(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[_Compiled | None, Sequence[Tensor]]:
        """Return a step that is right for such arguments, and the tensors in them.

        There is none while the state of an estimator has not taken its shape.
        """
        latest = self._latest
        if latest is not None and not kwargs and latest[0](*args):
            compiled = latest[1]
            if self._is_current(compiled):
                return compiled, args
        call = read(args, kwargs)
        found = self._known.get(call.key)
        if found is not None and not self._is_current(found):
            del self._known[call.key]
            found = None
        if found is None:
            found = self._prepare(call, args, kwargs)
        if found is not None and not kwargs and all(type(a) is Tensor for a in args):
            self._latest = Likeness(args), found
        return found, call.tensors

    def _is_current(self, compiled: _Compiled) -> bool:
        store = pyro.get_param_store()._params
        for name, param in compiled.params:
            if store.get(name) is not param:
                return False
        return (
            compiled.programs == (self.svi.model, self.svi.guide, self.svi.optim)
            and compiled.step.fits()
            and (compiled.updates is None or compiled.updates.current)
            and not compiled.surroundings.changed
            and compiled.validated == is_validation_enabled()
        )

    def _take(
        self,
        compiled: _Compiled,
        tensors: Sequence[Tensor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> float:
        step, updates = compiled.step, compiled.updates
        if updates is not None:
            updates.before()
        first, others = step.run(tensors)
        loss: float = first.item()
        if not math.isfinite(loss):
            self._not_finite(loss, compiled, args, kwargs)
        if updates is not None:
            updates.after()
        else:
            self._optimize(compiled, others)
        if step.learns:
            step.learn(others)
        return loss

    def _take_many(
        self,
        compiled: _Compiled,
        times: int,
        tensors: Sequence[Tensor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Tensor:
        step, updates = compiled.step, compiled.updates
        if step.learns or updates is None or updates.decays:
            losses = []
            for _ in range(times):
                losses.append(self._take(compiled, tensors, args, kwargs))
                if not step.fits():
                    break
            return torch.tensor(losses, dtype=step.dtype)
        updates.before()
        found = step.repeat(times, tensors).cpu()
        finite = found.isfinite()
        if not finite.all():
            at = int((~finite).nonzero()[0])
            updates.after(at if compiled.validated else times)
            self._not_finite(float(found[at]), compiled, args, kwargs)
        else:
            updates.after(times)
        return found

    def _optimize(self, compiled: _Compiled, gradients: Sequence[Tensor]) -> None:
        """Let an optimizer that has no rule take its step on the graph's gradients."""
        for param, gradient in zip(compiled.trained, gradients, strict=False):
            # Its own: equal gradients are one tensor of the graph.
            param.grad = gradient.clone()
        params = {param for _, param in compiled.params}
        self.svi.optim(params)
        zero_grads(params)

    def _not_finite(
        self,
        loss: float,
        compiled: _Compiled,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        if not compiled.validated:
            if math.isnan(loss):
                warnings.warn("Encountered NaN: loss", stacklevel=4)
            return
        compiled.step.go_on()
        found = (
            f"The loss of a compiled step is {loss}, so its gradient cannot be "
            "trusted; no parameter has changed."
        )
        try:
            # Says which site it is, if it meets such a draw as well.
            self.elbo.loss_and_grads(self.svi.model, self.svi.guide, *args, **kwargs)
        except ValueError as error:
            raise NotFiniteError(f"{found} {error}") from error
        finally:
            zero_grads([param for _, param in compiled.params])
        raise NotFiniteError(
            f"{found} A run that was not compiled had a finite loss, so few draws do "
            "this. Look for log(0), a division by zero, or a value outside a "
            "distribution's support."
        )

    def _prepare(
        self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _Compiled | None:
        """Compile a step; ``None`` if the state of estimators has no shape yet."""
        svi = self.svi
        started = time.perf_counter()
        if any(tensor.requires_grad for tensor in call.tensors):
            raise CompileError(
                "An argument of step requires a gradient, which a compiled step cannot "
                "tell from the program's own parameters. Pass it detached, or read it "
                "inside of the program with pyro.param."
            )
        with compiling() as show:
            params, trained, shown = self._rehearse(args, kwargs)
            surroundings = Surroundings(svi.model, svi.guide, self.elbo)
            job = Job(svi, self.elbo, call, shown, list(trained.values()))
            try:
                updates = updates_of(svi.optim, trained)
                first, _, _ = job.trace(updates)
                traced, use, origins = job.trace(updates)
            except Unsettled:
                self._unsettled += 1
                if self._unsettled > _PATIENCE:
                    raise
                return None
            self._unsettled = 0
            changed = difference(first, traced)
            if changed is not None:
                raise CompileError(
                    "The program does something else at every call, which one graph "
                    f"cannot hold: {changed}. Numbers that change (counters, annealed "
                    "weights, batches from an iterator) have to be tensors that are "
                    "passed as arguments of step."
                )
            validated = is_validation_enabled()
            show("compiling")
            lowered = lower(traced, call.tensors, keep_if_not_finite=validated)
        self.compile_seconds += time.perf_counter() - started
        compiled = self._known[call.key] = _Compiled(
            Step(traced, lowered, use, origins.answers),
            updates,
            list(params.items()),
            list(trained.values()),
            surroundings,
            validated,
            (svi.model, svi.guide, svi.optim),
        )
        if len(self._known) == _MANY:
            warnings.warn(
                f"{_MANY} graphs have been compiled for {_MANY} kinds of arguments "
                "(shapes of tensors, values of everything else). Pad batches to one "
                "shape, and pass numbers that change as tensors: torch.tensor(beta).",
                CompileWarning,
                stacklevel=4,
            )
        return compiled

    def _rehearse(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Rehearsal]:
        """Find the parameters, those with a gradient, and who takes part."""
        svi = self.svi
        params: dict[str, Tensor] = {}
        trained: dict[str, Tensor] = {}
        for param in pyro.get_param_store()._params.values():
            param.grad = None  # what has one afterwards has it from this run
        with rehearsal() as shown:
            with poutine.trace(param_only=True) as capture:
                self.elbo.loss_and_grads(svi.model, svi.guide, *args, **kwargs)
            for name, site in capture.trace.nodes.items():
                params[name] = param = site["value"].unconstrained()  # type: ignore[union-attr]
                if param.grad is not None:
                    trained[name] = param
        zero_grads(params.values())
        return params, trained, shown
