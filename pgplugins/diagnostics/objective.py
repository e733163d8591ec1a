"""The three kinds of objective that can be compared, behind one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.estimator import Estimator
from pgplugins.core.numbers import positive_integer
from pgplugins.errors import InputError, InputTypeError
from pgplugins.functional import expectation
from pgplugins.infer.elbo import ELBO
from pgplugins.infer.expected_cost import ExpectedCost

Loss = Callable[[], Tensor]


class Objective(ABC):
    """Something whose gradient can be estimated in several ways."""

    name: str

    @abstractmethod
    def loss(self, estimator: Estimator) -> Loss:
        """Return a function of no arguments whose value is the differentiable loss.

        The function keeps the estimator's state from call to call.
        """

    @abstractmethod
    def visit(self) -> None:
        """Run once without estimators, so that the parameters show themselves."""

    @abstractmethod
    def distributions(self) -> list[Distribution]:
        """Return what the random sites draw from."""

    def parameters(self) -> dict[str, Tensor]:
        """The parameters in Pyro's store that the objective meets, unconstrained.

        Raises:
            InputError: There are none.
        """
        with poutine.trace(param_only=True) as capture, torch.no_grad():
            self.visit()
        store = dict(pyro.get_param_store().named_parameters())
        found = {name: store[name] for name in capture.trace.nodes}
        if not found:
            raise InputError(
                f"compare: {self.name} has no parameters in Pyro's store; name the "
                'tensors to differentiate for, such as params={"mu": mu}.'
            )
        return found


class Expectation(Objective):
    """``(cost, dist)``, where ``dist`` may be a function that returns one."""

    def __init__(
        self,
        cost: Callable[[Tensor], Tensor],
        dist: Distribution | Callable[[], Distribution],
        num_samples: int,
    ) -> None:
        """Keep the parts."""
        self.name = _name(cost, "expectation")
        self._cost = cost
        self._dist = dist
        self._num_samples = num_samples

    def loss(self, estimator: Estimator) -> Loss:
        """Estimate with the instance itself, which keeps the state."""
        return lambda: expectation(
            self._cost,
            self._distribution(),
            estimator=estimator,
            num_samples=self._num_samples,
        )

    def visit(self) -> None:
        """Draw and evaluate the cost."""
        self._cost(self._distribution().sample((self._num_samples,)))

    def distributions(self) -> list[Distribution]:
        """The one distribution."""
        return [self._distribution()]

    def _distribution(self) -> Distribution:
        dist = self._dist if isinstance(self._dist, Distribution) else self._dist()
        if not isinstance(dist, Distribution):
            raise InputTypeError(
                f"compare: the second entry of (cost, dist) gave a "
                f"{type(dist).__name__}, not a distribution. Write "
                "(cost, lambda: dist.Normal(mu, sigma)) for an expectation, or "
                "(model, guide, args) for an ELBO."
            )
        return dist


class Variational(Objective):
    """``(model, guide, args)``: the negative ELBO.

    The template's own ``estimators`` give way to the one that is compared.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        args: tuple[Any, ...],
        template: ELBO,
    ) -> None:
        """Keep the parts."""
        self.name = _name(model, "model")
        self._model = model
        self._guide = guide
        self._args = args
        self._template = template

    def loss(self, estimator: Estimator) -> Loss:
        """Estimate with an ELBO of the estimator's own, whose sites keep the state."""
        elbo = self._template.with_estimators(estimator)
        return lambda: elbo.differentiable_loss(self._model, self._guide, *self._args)

    def visit(self) -> None:
        """Run the guide, and the model on what it drew."""
        drawn = poutine.trace(self._guide).get_trace(*self._args)
        poutine.replay(self._model, drawn)(*self._args)

    def distributions(self) -> list[Distribution]:
        """What the guide draws from."""
        return _random(poutine.trace(self._guide).get_trace(*self._args))


class Program(Objective):
    """A callable that states its costs with ``pg.cost``."""

    def __init__(self, program: Callable[[], Any], num_particles: int) -> None:
        """Keep the parts."""
        self.name = _name(program, "program")
        self._program = program
        self._num_particles = num_particles

    def loss(self, estimator: Estimator) -> Loss:
        """Estimate with an objective of the estimator's own, which keeps the state."""
        objective = ExpectedCost(
            estimators=estimator, num_particles=self._num_particles
        )
        return lambda: objective(self._program)

    def visit(self) -> None:
        """Run the program; its costs go nowhere."""
        with _Listener():
            self._program()

    def distributions(self) -> list[Distribution]:
        """What the program draws from."""
        with _Listener():
            return _random(poutine.trace(self._program).get_trace())


class _Listener(Messenger):
    """Lets a program state its costs where no objective runs."""

    def _pyro_pgplugins_cost(self, msg: Any) -> None:
        msg["done"] = msg["kept"] = True


def _random(trace: Any) -> list[Distribution]:
    return [
        site["fn"]
        for site in trace.nodes.values()
        if site["type"] == "sample"
        and not site["is_observed"]
        and not site_is_subsample(site)
        and not isinstance(site["fn"], Delta)
    ]


def as_objective(
    objective: Any,
    *,
    num_samples: int | None = None,
    num_particles: int | None = None,
    elbo: ELBO | None = None,
) -> Objective:
    """Recognise the kind of an objective.

    Raises:
        InputTypeError: It is none of the three kinds.
        InputError: A setting belongs to another kind.
    """
    counts = {"num_samples": num_samples, "num_particles": num_particles}
    for option, count in counts.items():
        if count is not None:
            positive_integer(count, option)
    given = {"elbo": elbo, **counts}
    match objective:
        case (cost, dist) if callable(cost):
            _accept(given, "num_samples", "an expectation (cost, dist)")
            return Expectation(cost, dist, num_samples or 1)
        case (model, guide, args) if callable(model) and callable(guide):
            kind = "a (model, guide, args) triple"
            _accept(given, "elbo" if elbo is not None else "num_particles", kind)
            if not isinstance(args, tuple):
                raise InputTypeError(
                    "compare: args in (model, guide, args) is a "
                    f"{type(args).__name__}; write a tuple, () if there are none."
                )
            particles = num_particles or 1
            template = elbo or ELBO(
                num_particles=particles, vectorize_particles=particles > 1
            )
            return Variational(model, guide, args, template)
        case program if callable(program):
            _accept(given, "num_particles", "a program")
            return Program(program, num_particles or 1)
    raise InputTypeError(
        f"compare: an objective is an expectation (cost, dist), a triple "
        f"(model, guide, args) or a program with costs; found {objective!r}."
    )


def named_parameters(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Check the tensors that the user named.

    Raises:
        InputTypeError: ``params`` is not a mapping of names to tensors.
        InputError: It is empty, or a tensor does not require a gradient.
    """
    if not isinstance(params, Mapping) or not all(
        isinstance(p, Tensor) for p in params.values()
    ):
        raise InputTypeError(
            'compare: params maps names to tensors, such as params={"mu": mu}; '
            f"found {params!r}."
        )
    if not params:
        raise InputError("compare: params is empty; name at least one tensor.")
    for name, p in params.items():
        if not p.requires_grad:
            raise InputError(
                f"compare: params[{name!r}] does not require a gradient; "
                "call .requires_grad_() on it before the objective uses it."
            )
    return dict(params)


def _accept(given: Mapping[str, object], option: str, kind: str) -> None:
    for other, value in given.items():
        if other != option and value is not None:
            raise InputError(
                f"compare: {other} does not go with {kind}; write {option} there."
            )


def _name(function: Callable[..., Any], otherwise: str) -> str:
    name = getattr(function, "__name__", otherwise)
    return otherwise if name == "<lambda>" else name
