"""``compare``: which estimator buys the most gradient for the time."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from torch import Tensor

from pgplugins.diagnostics.detail import details_of
from pgplugins.diagnostics.entries import labelled
from pgplugins.diagnostics.isolation import random_stream, tidy_store
from pgplugins.diagnostics.measurement import BLOCKS, Contestant, race
from pgplugins.diagnostics.objective import Objective
from pgplugins.diagnostics.progress import track
from pgplugins.diagnostics.recognition import as_objective, named_parameters
from pgplugins.diagnostics.reference import (
    Exact,
    Reference,
    enumerable,
    enumerated,
    given,
    sampled,
)
from pgplugins.diagnostics.result import Comparison, row_of
from pgplugins.errors import (
    EstimatorError,
    FlatCostError,
    InputError,
    PgpluginsError,
)
from pgplugins.estimators.enumerate import Enumerate
from pgplugins.infer.choice import EstimatorRules, Estimators
from pgplugins.infer.truncation import Truncations
from pgplugins.plugins import available

if TYPE_CHECKING:
    from pgplugins.infer.elbo import ELBO

MISFIT = (EstimatorError, FlatCostError)
"""Errors by which an estimator says that the objective is not for it."""


RUNS: Final = 1000


def compare(
    objective: Any,
    estimators: Sequence[Estimators] | Mapping[str, Estimators] | None = None,
    *,
    params: Mapping[str, Tensor] | None = None,
    num_samples: int | None = None,
    num_particles: int | None = None,
    elbo: ELBO | None = None,
    reference: Exact | None = None,
    num_runs: int = RUNS,
    num_warmup: int = 100,
    seed: int | None = None,
    name: str | None = None,
) -> Comparison:
    """Measure bias, variance, time and memory of estimators of the same gradient.

    An entry of ``estimators`` is what :class:`pgplugins.ELBO` takes: one estimator for
    all random sites, a mapping from sites to estimators, or ``None`` for every site's
    default. Sites that name their own (``infer={"estimator": ...}``) keep it. After a
    warm-up, in which estimators with state learn, their runs are timed in alternating
    blocks. Parameters are never changed, and neither are instances that are passed in:
    a copy is run. A neural baseline is therefore used as it is, trained or not.

    How to read a row: ``variance`` is the total variance of the gradient of one call,
    summed over coordinates; ``snr`` is the norm of the reference over its root;
    ``seconds`` is the median time of one call, forward and backward, on this machine;
    ``efficiency`` is ``1 / (variance * seconds)``; ``memory`` is the most bytes that
    the tensors of one call hold at one time
    (:func:`~pgplugins.diagnostics.memory.peak_memory`).
    ``bias_z`` is the deviation from the reference, in standard errors, of the
    coordinate where it is largest, with its sign. Without any bias the largest of many
    coordinates is still about ``sqrt(2 log d)`` (4.3 for ten thousand), so judge it by
    ``bias_p``, which is adjusted for their number; a row counts as biased below one in
    a million, which is ``|bias_z|`` above ``bias_limit``. A small ``|bias_z|`` says
    that a bias, if any, is small against the standard error
    ``sqrt(variance / num_runs)``, not that there is none.

    The reference is the exact gradient if one is given or if every site can be
    enumerated; otherwise the most efficient unbiased estimator with up to four
    times the runs, on draws of their own, whose standard error enters ``bias_z``.

    Args:
        objective: An expectation ``(cost, dist)``, where ``dist`` is a distribution or
            a function that returns one; a triple ``(model, guide, args)`` for the ELBO;
            or a program that states its costs with ``pg.cost``. A loss that is not a
            scalar is summed.
        estimators: A list, such as ``["hybrid", {"z": "enumerate"}]``, or a mapping
            from labels to what stands in such a list. The default tries every estimator
            that is available and notes those that do not fit.
        params: Names the tensors to differentiate for. The default is what the
            objective meets in Pyro's parameter store, unconstrained.
        num_samples: Independent draws in one call of an expectation; 1 by default.
        num_particles: The same for the other kinds, vectorised; 1 by default.
        elbo: For a triple: the ELBO to take the settings from, instead of
            ``num_particles``.
        reference: The exact gradient by parameter name, or a function that returns it.
        num_runs: Runs per estimator, at least 20.
        num_warmup: Runs per estimator before any counts, at least 1.
        seed: Seeds this comparison alone; the caller's random stream goes on as if
            nothing had been drawn. The default draws from that stream.
        name: What to call the objective.

    Returns:
        The measured rows, with a table, a plot and the best estimator.

    Raises:
        InputError: A setting is unusable, or a parameter gets no gradient.
        InputTypeError: The objective is of no known kind.
        UnknownEstimatorError: A name is not registered.
        EstimatorError: An estimator that was asked for does not fit, or the objective
            raises with it, such as one that indexes by a choice with a soft one.
        NotFiniteError: A loss or a gradient is not finite.

    Example:
        >>> import torch
        >>> from torch.distributions import Normal
        >>> mu = torch.tensor(1.0, requires_grad=True)
        >>> result = compare(
        ...     (lambda x: x**2, lambda: Normal(mu, 1.0)),
        ...     ["score_function", "reparameterized"],
        ...     params={"mu": mu},
        ...     reference={"mu": torch.tensor(2.0)},
        ...     seed=0,
        ... )
        >>> score, path = result.rows
        >>> path.variance < score.variance and abs(path.bias_z) < 5
        True
    """
    if num_runs < BLOCKS:
        raise InputError(f"compare: num_runs={num_runs}: write {BLOCKS} or more.")
    if num_warmup < 1:
        raise InputError(f"compare: num_warmup={num_warmup}: write 1 or more.")
    problem = as_objective(
        objective, num_samples=num_samples, num_particles=num_particles, elbo=elbo
    )
    title = name or problem.name
    with random_stream(seed), tidy_store():
        field = _Field(
            problem,
            problem.parameters() if params is None else named_parameters(params),
            num_warmup,
        )
        truth = None if reference is None else given(reference, field.parameters)
        contestants, notes = field.enter_all(estimators)
        steps = BLOCKS * len(contestants)
        for _ in track(race(contestants, num_runs), title, steps):
            pass
        if truth is None:
            truth = field.find_reference(contestants, num_runs)
        rows = [row_of(title, c, truth, c.memory()) for c in contestants]
    return Comparison(
        title,
        rows,
        reference=truth.source,
        notes=notes + field.notes,
        by_parameter=[detail for c in contestants for detail in details_of(c, truth)],
    )


class _Field:
    """Who takes part: estimators that fit the objective, warmed up."""

    def __init__(
        self, problem: Objective, parameters: Mapping[str, Tensor], num_warmup: int
    ) -> None:
        self.parameters = parameters
        self.notes: list[str] = []
        self._problem = problem
        self._num_warmup = num_warmup

    def enter_all(
        self, estimators: Sequence[Estimators] | Mapping[str, Estimators] | None
    ) -> tuple[list[Contestant], list[str]]:
        """Enter each estimator; only those that nobody asked for may be left out."""
        contestants, notes = [], []
        entries = list(available()) if estimators is None else estimators
        for label, rules in labelled(entries, self._problem.distributions):
            try:
                contestants.append(self._warm(label, rules))
            except MISFIT as error:
                if estimators is not None:
                    raise
                notes.append(f"{label} left out: {error}")
            except (ArithmeticError, LookupError, RuntimeError, TypeError) as error:
                # The program's own: an index that a soft choice cannot be, say.
                found = f"{type(error).__name__}: {error}"
                if estimators is not None and isinstance(error, PgpluginsError):
                    raise
                if estimators is not None:
                    raise EstimatorError(
                        f"compare: the objective raises with {label}: {found}. Leave "
                        "it out, or choose it for the sites whose values suit it."
                    ) from error
                notes.append(f"{label} left out: the objective raises {found}")
        if not contestants:
            raise EstimatorError(
                f"compare: no estimator fits {self._problem.name}. {' '.join(notes)}"
            )
        reached = set().union(*(c.reached for c in contestants))
        for name in self.parameters:
            if name not in reached:
                raise InputError(
                    f"compare: {name!r} gets no gradient from any estimator: "
                    f"{self._problem.name} does not depend on it. Build the "
                    "distribution inside a function of no arguments, or leave the name "
                    "out of params."
                )
        return contestants, notes

    def find_reference(self, contestants: Sequence[Contestant], runs: int) -> Reference:
        """Enumerate if possible, else run the best unbiased estimator further."""
        by_enumeration = self._enumerate()
        if by_enumeration is not None:
            return by_enumeration
        if any(c.unbiased for c in contestants):
            return sampled(contestants, runs)
        referee = self._warm("score_function", EstimatorRules("score_function"))
        if referee.cut:
            raise InputError(
                f"compare: {self._problem.name} cuts paths (pg.rl.truncate) that lead "
                "to the parameters whatever the estimator is, so all are biased and "
                "none can be the reference. Write reference=..., the exact gradient."
            )
        if not referee.unbiased:
            raise InputError(
                f"compare: {self._problem.name} has a site that names a biased "
                "estimator of its own, so that no estimator here is unbiased. Give the "
                "exact gradient as reference=."
            )
        for _ in race([referee], runs):
            pass
        return sampled([*contestants, referee], runs)

    def _enumerate(self) -> Reference | None:
        if not enumerable(self._problem.distributions().values()):
            return None
        try:
            return enumerated(self._bind("enumerate", EstimatorRules(Enumerate())))
        except Exception as error:
            # Nobody asked for it, and a program that was not written to be enumerated
            # may fail in any way.
            self.notes.append(f"no exact reference by enumeration: {error}")
            return None

    def _warm(self, label: str, rules: EstimatorRules) -> Contestant:
        contestant = self._bind(label, rules)
        with Truncations() as heard:
            contestant.warm_up(self._num_warmup)
        if heard.any:
            contestant.cut = True
            self.notes.append(
                f"{label}: the program cuts its path (pg.rl.truncate), which is biased."
            )
        return contestant

    def _bind(self, label: str, rules: EstimatorRules) -> Contestant:
        # What the comparison teaches an estimator is no business of its owner's.
        own = copy.deepcopy(rules)
        return Contestant(label, self._problem.anew(own), self.parameters)
