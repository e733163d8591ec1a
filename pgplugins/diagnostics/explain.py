"""``explain``: which estimator serves a site, why, and what its gradient is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pgplugins.core.estimator import Estimator
from pgplugins.diagnostics.explain_layout import Layout
from pgplugins.diagnostics.explain_probe import ProbingRules
from pgplugins.diagnostics.explain_result import ExplainedSite, Explanation
from pgplugins.diagnostics.explain_tally import Tally
from pgplugins.diagnostics.explain_warnings import (
    SiteInUse,
    about_parameters,
    about_site,
)
from pgplugins.diagnostics.isolation import random_stream, tidy_store
from pgplugins.diagnostics.measurement import Contestant
from pgplugins.diagnostics.objective import InUse, Objective
from pgplugins.diagnostics.progress import track
from pgplugins.diagnostics.recognition import as_objective, named_parameters
from pgplugins.diagnostics.statistics import GradientStatistics
from pgplugins.errors import FlatCostError, InputError, InputTypeError
from pgplugins.infer.choice import EstimatorRules, Estimators
from pgplugins.infer.elbo import ELBO

WARM_UP = 50
"""Calls in which estimators with state learn before any counts."""


def explain(
    objective: Any,
    params: Mapping[str, Tensor] | None = None,
    elbo: ELBO | None = None,
    *,
    estimators: Estimators = None,
    num_samples: int | None = None,
    num_particles: int | None = None,
    num_runs: int = 200,
    seed: int | None = None,
    name: str | None = None,
) -> Explanation:
    """Say which estimator serves each site and why, and take the gradient apart.

    A random choice x ~ p(x; theta) with the cost c downstream of it reaches a parameter
    in up to three ways:

    - ``score``: ``E[c * d log p(x; theta) / d theta]`` with x held. From c the other
      particles' mean is subtracted if there are several side by side, else the mean of
      past calls.
    - ``pathwise``: ``E[(dc / dx) * dx(theta, noise) / d theta]``, through the draw.
      What the draw changes at later sites counts, along their paths or in their scores,
      as their own estimators have it.
    - ``explicit``: ``E[dc / d theta]`` with all draws held.

    Score and pathwise part answer one question, what the site's distribution
    contributes, and agree in expectation if the cost is continuous. So the gradient is
    the explicit part of all costs and, of every site, either its score or its pathwise
    part. Where they differ on the same draws (a paired t test, below one in a million)
    the cost jumps, and the score part is right. The test is that of the cost's
    arctangent, which jumps where the cost does and has no tails; of the cost itself
    where another site's distribution depends on the draw, or a cost joins elements of
    the site's plates. The warning then says that heavy tails may be the reason.

    In an ELBO the costs are ``log q - log p``; those of a site include its own log q,
    whose direct gradient has mean zero and is left out. Parts are gradients of the
    loss, the negative ELBO, and of one call: means over draws, sums over plates.

    Parameters are never changed, and neither are estimators: copies are run, with what
    they have learnt.

    Args:
        objective: An expectation ``(cost, dist)``, where ``dist`` is a distribution or
            a function that returns one; a triple ``(model, guide, args)`` for the ELBO;
            or a program that states its costs with ``pg.cost``.
        params: Names the tensors to differentiate for. The default is what the
            objective meets in Pyro's parameter store, unconstrained.
        elbo: For a triple: the ELBO in use, with its settings and estimators.
        estimators: What is in use, if no ``elbo`` says so, as for
            :class:`pgplugins.ELBO`. The default leaves it to the sites.
        num_samples: Independent draws in one call of an expectation; 1 by default.
        num_particles: The same for the other kinds, vectorised; 1 by default.
        num_runs: Calls that the means are over, at least 2.
        seed: Seeds this explanation alone; the caller's random stream goes on as if
            nothing had been drawn. The default draws from that stream.
        name: What to call the objective.

    Returns:
        The sites, with their parts and warnings, and a table.

    Raises:
        InputError: A setting is unusable, or there are no parameters.
        InputTypeError: The objective is of no known kind, or ``elbo`` of another.
        EstimatorError: An estimator does not fit its site.
        NotFiniteError: A loss or a gradient is not finite.

    Example:
        >>> import torch
        >>> from torch.distributions import Normal
        >>> mu = torch.tensor(0.7, requires_grad=True)
        >>> found = explain(
        ...     (lambda x: (x - 2) ** 2, lambda: Normal(mu, 1.3)),
        ...     params={"mu": mu},
        ...     num_samples=1000,
        ...     seed=0,
        ... )
        >>> site = found.sites[0]
        >>> site.estimator, site.reason
        ('reparameterized', 'default: it has rsample')
        >>> [round(p.mean["mu"].item(), 1) for p in (site.score, site.pathwise)]
        [-2.6, -2.6]
    """
    if num_runs < 2:
        raise InputError(f"explain: num_runs={num_runs}: write 2 or more.")
    if elbo is not None and type(elbo) is not ELBO:
        raise InputTypeError(
            f"explain: elbo is a {type(elbo).__name__}; the parts are those of a sum "
            "of costs, so write a pg.ELBO, with the estimators that are in use."
        )
    if elbo is not None and estimators is not None:
        raise InputError(
            "explain: elbo and estimators both say what is in use; write "
            "elbo=pg.ELBO(estimators=...) alone."
        )
    problem = as_objective(
        objective, num_samples=num_samples, num_particles=num_particles, elbo=elbo
    )
    rules = EstimatorRules(estimators) if elbo is None else elbo.rules
    with random_stream(seed), tidy_store():
        given = problem.parameters() if params is None else named_parameters(params)
        return _Study(problem, rules, Layout(given)).run(num_runs, name)


class _Study:
    """Runs an objective in two ways: as it is in use, and taken apart."""

    def __init__(
        self, problem: Objective, rules: EstimatorRules, layout: Layout
    ) -> None:
        self._problem = problem
        self._layout = layout
        self._probing = ProbingRules(rules)
        self._tally = Tally(layout, problem.size)
        self._in_use: InUse = problem.in_use(rules)

    def run(self, num_runs: int, name: str | None) -> Explanation:
        title = name or self._problem.name
        once = self._problem.runs(self._probing)
        for _ in track(range(num_runs), title):
            self._tally.add(once())
        warnings: list[str] = []
        by_site: dict[str, list[str]] = {site: [] for site in self._tally.sites}
        gradient = self._measure(num_runs, by_site, warnings)
        sites = {site: self._site(site) for site in self._tally.sites}
        for site, seen in sites.items():
            by_site[site] += about_site(seen)
        if gradient is not None:
            for names, text in about_parameters(gradient, self._layout, sites):
                for target in [by_site[site] for site in names] or [warnings]:
                    target.append(text)
        return Explanation(
            title,
            [
                self._explained(site, seen, by_site[site])
                for site, seen in sites.items()
            ],
            explicit=self._layout.part(self._tally.explicit),
            gradient=None if gradient is None else self._layout.part(gradient),
            runs=num_runs,
            warnings=warnings,
        )

    def _measure(
        self, num_runs: int, by_site: dict[str, list[str]], warnings: list[str]
    ) -> GradientStatistics | None:
        """Run the estimators in use; a cost that they refuse as flat is a warning."""
        contestant = Contestant(
            "the estimators in use", self._in_use, self._layout.parameters
        )
        stats = contestant.new_statistics()
        try:
            contestant.warm_up(WARM_UP)
            for _ in track(range(num_runs), "the estimators in use"):
                contestant.add_run(stats)
        except FlatCostError as error:
            concerned = [
                warned
                for site, warned in by_site.items()
                if self._probing.choices[site].estimator.traits.pathwise
            ]
            for target in concerned or [warnings]:
                target.append(f"the cost is flat: {error}")
            return None
        return stats

    def _site(self, name: str) -> SiteInUse:
        return SiteInUse(
            # The copy that has run, if its site was met.
            self._in_use.estimators().get(name, self._probing.choices[name].estimator),
            self._probing.laws[name],
            self._tally.sites[name],
            self._tally.reached[name],
        )

    def _explained(
        self, name: str, seen: SiteInUse, warnings: list[str]
    ) -> ExplainedSite:
        tally = seen.tally
        return ExplainedSite(
            name,
            seen.estimator.name,
            _reason(self._probing.choices[name].reason, seen.estimator),
            warnings,
            score=None if tally.score is None else self._layout.part(tally.score),
            pathwise=(
                None if tally.pathwise is None else self._layout.part(tally.pathwise)
            ),
            explicit=self._layout.part(tally.explicit),
            reaches=[p for p in self._layout.parameters if p in seen.reached],
            choice=_choice(seen.estimator),
        )


def _choice(estimator: Estimator) -> str | None:
    """Return what an estimator that chooses among others has chosen."""
    choice: str | None = getattr(estimator, "choice", None)
    return choice


def _reason(reason: str, estimator: Estimator) -> str:
    """Add what an estimator that chooses among others has chosen, and why."""
    choice = _choice(estimator)
    if choice is None:
        return reason
    why = getattr(estimator, "reason", None)
    return f"{reason}; it uses {choice}" + (f" ({why})" if why else "")
