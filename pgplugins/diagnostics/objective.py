"""The three kinds of objective, behind one interface."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.estimator import Estimator
from pgplugins.errors import InputError, InputTypeError
from pgplugins.functional import SITE, expectation, record
from pgplugins.infer.choice import EstimatorRules
from pgplugins.infer.elbo import ELBO
from pgplugins.infer.expected_cost import ExpectedCost
from pgplugins.infer.run import Run
from pgplugins.plugins import Site

Loss = Callable[[], Tensor]
Runs = Callable[[], Iterator[Run]]


class InUse(NamedTuple):
    """An objective with its estimators.

    Args:
        loss: Returns the differentiable loss of one call; state is kept between calls.
        estimators: Returns those of the sites that have been met, by site.
    """

    loss: Loss
    estimators: Callable[[], Mapping[str, Estimator]]


class Objective(ABC):
    """Something whose gradient can be estimated in several ways."""

    name: str
    size: int  # independent draws in one call

    @abstractmethod
    def anew(self, rules: EstimatorRules) -> InUse:
        """Return the loss with estimators that have the rules' state, or none."""

    def in_use(self, rules: EstimatorRules) -> InUse:
        """Return the loss with copies of the estimators, with what they have learnt."""
        return self.anew(rules)

    @abstractmethod
    def runs(self, rules: EstimatorRules) -> Runs:
        """Return a function that yields the runs that one call's loss is made of."""

    @abstractmethod
    def visit(self) -> None:
        """Run once without estimators, so that the parameters show themselves."""

    @abstractmethod
    def distributions(self) -> dict[str, Distribution]:
        """Return what the random sites draw from, by site."""

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
                f"{self.name} has no parameters in Pyro's store; name the "
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
        self.size = num_samples
        self._cost = cost
        self._dist = dist

    def anew(self, rules: EstimatorRules) -> InUse:
        """Copy the instance, which keeps the state."""
        own = copy.deepcopy(self._chosen(rules))
        return InUse(
            lambda: expectation(
                self._cost,
                self._distribution(),
                estimator=own,
                num_samples=self.size,
            ),
            lambda: {SITE: own},
        )

    def runs(self, rules: EstimatorRules) -> Runs:
        """Draw all samples in one run."""

        def once() -> Iterator[Run]:
            found = record(
                self._cost, self._distribution(), self._chosen(rules), self.size
            )
            yield Run([found.site], [found.cost])

        return once

    def visit(self) -> None:
        """Draw and evaluate the cost."""
        self._cost(self._distribution().sample((self.size,)))

    def distributions(self) -> dict[str, Distribution]:
        """The one distribution."""
        return {SITE: self._distribution()}

    def _chosen(self, rules: EstimatorRules) -> Estimator:
        chosen = rules.choose(Site(SITE, self._distribution())).estimator
        rules.require_matched([SITE])
        return chosen

    def _distribution(self) -> Distribution:
        dist = self._dist if isinstance(self._dist, Distribution) else self._dist()
        if not isinstance(dist, Distribution):
            raise InputTypeError(
                f"the second entry of (cost, dist) gave a "
                f"{type(dist).__name__}, not a distribution. Write "
                "(cost, lambda: dist.Normal(mu, sigma)) for an expectation, or "
                "(model, guide, args) for an ELBO."
            )
        return dist


class Variational(Objective):
    """``(model, guide, args)``: the negative ELBO.

    The template's own ``estimators`` give way to those that are compared.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        args: tuple[Any, ...],
        template: ELBO,
    ) -> None:
        """Keep the parts.

        Raises:
            InputError: The template is one of several ranks'.
        """
        if template.distributed is not False:
            raise InputError(
                "An ELBO with distributed=... is one rank's part of an estimate, and "
                "estimators are compared and explained in one process. Leave "
                "distributed out here."
            )
        self.name = _name(model, "model")
        self.size = template.num_particles
        self._model = model
        self._guide = guide
        self._args = args
        self._template = template

    def anew(self, rules: EstimatorRules) -> InUse:
        """Make an ELBO with the template's settings."""
        return self._with(self._template.with_rules(rules))

    def in_use(self, rules: EstimatorRules) -> InUse:
        """Copy the template, with what its estimators have learnt."""
        elbo = self._template.with_rules(rules)
        elbo.load_state_dict(self._template.state_dict())
        return self._with(elbo)

    def _with(self, elbo: ELBO) -> InUse:
        return InUse(
            lambda: elbo.differentiable_loss(self._model, self._guide, *self._args),
            elbo.estimators_met,
        )

    def runs(self, rules: EstimatorRules) -> Runs:
        """Run guide and model, once or once per particle."""
        elbo = self._template.with_rules(rules)
        return lambda: elbo.runs(self._model, self._guide, *self._args)

    def visit(self) -> None:
        """Run the guide, and the model on what it drew."""
        drawn = poutine.trace(self._guide).get_trace(*self._args)
        poutine.replay(self._model, drawn)(*self._args)

    def distributions(self) -> dict[str, Distribution]:
        """What the guide draws from."""
        return _random(poutine.trace(self._guide).get_trace(*self._args))


class Program(Objective):
    """A callable that states its costs with ``pg.cost``."""

    def __init__(self, program: Callable[[], Any], num_particles: int) -> None:
        """Keep the parts."""
        self.name = _name(program, "program")
        self.size = num_particles
        self._program = program

    def anew(self, rules: EstimatorRules) -> InUse:
        """Make an objective that binds copies."""
        objective = ExpectedCost(num_particles=self.size).with_rules(rules)
        return InUse(lambda: objective(self._program), objective.estimators_met)

    def runs(self, rules: EstimatorRules) -> Runs:
        """Run the program once, all particles side by side."""
        objective = ExpectedCost(num_particles=self.size).with_rules(rules)
        return lambda: objective.runs(self._program)

    def visit(self) -> None:
        """Run the program; its costs go nowhere."""
        with _Listener():
            self._program()

    def distributions(self) -> dict[str, Distribution]:
        """What the program draws from."""
        with _Listener():
            return _random(poutine.trace(self._program).get_trace())


class _Listener(Messenger):
    """Lets a program state its costs where no objective runs."""

    def _pyro_pgplugins_cost(self, msg: Any) -> None:
        msg["done"] = msg["kept"] = True


def _random(trace: Any) -> dict[str, Distribution]:
    return {
        name: site["fn"]
        for name, site in trace.nodes.items()
        if site["type"] == "sample"
        and not site["is_observed"]
        and not site_is_subsample(site)
        and not isinstance(site["fn"], Delta)
    }


def _name(function: Callable[..., Any], otherwise: str) -> str:
    name = getattr(function, "__name__", otherwise)
    return otherwise if name == "<lambda>" else name
