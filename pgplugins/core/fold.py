"""The fold: estimators compose from the last site to the first.

A site's cost is everything downstream of it. Folding from the last site backwards, each
estimator adds its term to the costs and averages them over its rows; a term is zero in
value, so it adds nothing to the signal of earlier sites, but its gradient reaches those
that are pathwise or have rows. This is the chain rule for gradient estimators (Schulman
et al. 2015, theorem 1; Foerster et al. 2018 for the terms).

Dimensions are counted from the right throughout: plates first, then the particles, then
one dimension per site with several rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.circumstances import Circumstances
from pgplugins.core.finite import require_zero
from pgplugins.core.learning import teach
from pgplugins.core.ledger import Ledger
from pgplugins.core.provenance import Sources
from pgplugins.core.terms import CostTerm, Site
from pgplugins.errors import ShapeError

_EVERYTHING: Sources = -1


def fold(
    sites: Sequence[Site], costs: Iterable[CostTerm], *, first_order: bool = False
) -> list[CostTerm]:
    """Correct the gradient at every site, last to first, and average over all rows.

    Args:
        sites: In execution order; sites that need no correction may be left out.
        costs: The cost terms of the run.
        first_order: The result will be differentiated once, so that estimators that
            need no gradient of the cost get it without one.

    Returns:
        Cost terms whose sum has the expected cost's estimate as its value and the
        estimate of its gradient as its gradient.

    Raises:
        ProgramError: A site's rows cannot be averaged over a cost that joins several of
            its plate's elements.
        ShapeError: An estimator returned a term of the wrong shape.
    """
    if not sites:
        return list(costs)
    costs = list(costs)
    _tell(sites, costs)
    ledger = Ledger(sites, costs, first_order=first_order)
    for site in reversed(sites):
        signal = ledger.signal(site)
        term = None
        if signal is not None:
            estimator, draw = site.estimator, site.draw
            draw.first_order = first_order
            term = estimator.gradient_term(draw, signal.value)
            teach(estimator, draw, signal.value)
        if site.row_dim is not None:
            ledger.average(site, site.row_dim)
        if signal is not None and term is not None:
            _check_term(site, term, signal.value)
            if Distribution._validate_args:
                require_zero(term, site.estimator)
            upstream = (signal.upstream | site.upstream) & ~site.bit
            ledger.add_zero(CostTerm(site.name, term, site.plates, upstream))
    return ledger.costs


def average_rows(sites: Sequence[Site], costs: Iterable[CostTerm]) -> list[CostTerm]:
    """Average the costs over all rows, without any correction of the gradient.

    Raises:
        ProgramError: As :func:`fold`.
    """
    ledger = Ledger(sites, costs, first_order=True)
    for site in reversed(sites):
        if site.row_dim is not None:
            ledger.average(site, site.row_dim)
    return ledger.costs


def _tell(sites: Sequence[Site], costs: Sequence[CostTerm]) -> None:
    """Tell draws whose estimators choose their rows what the program did with them."""
    choosing = [s for s in sites if s.estimator.traits.cost_evaluations == "choice"]
    if not choosing or any(cost.upstream == _EVERYTHING for cost in costs):
        return  # nobody asks, or nobody looked
    choosers = 0
    for site in choosing:
        choosers |= site.bit
    fixed = [s for s in sites if s.row_dim is not None and not s.bit & choosers]
    shared = [(cost.upstream & choosers).bit_count() for cost in costs]
    taken = [
        prod(s.draw.rows for s in fixed if cost.upstream & s.bit) for cost in costs
    ]
    for site in choosing:
        inside = [i for i, cost in enumerate(costs) if cost.upstream & site.bit]
        batch = site.draw.dist.batch_shape
        varied = {dim for dim in range(-len(batch), 0) if batch[dim] > 1}
        site.draw.met = Circumstances(
            joins_elements=bool(varied)
            and any(
                varied - {p.dim for p in costs[i].plates & site.plates} for i in inside
            ),
            in_python=site.in_python,
            shared_by=max((shared[i] for i in inside), default=1),
            taken=max((taken[i] for i in inside), default=1),
        )


def _check_term(site: Site, term: Tensor, signal: Tensor) -> None:
    if term.shape == site.draw.dist.batch_shape or term.shape == signal.shape[1:]:
        return
    wanted = signal.shape[1:]
    raise ShapeError(
        f"{type(site.estimator).__name__}.gradient_term returned shape "
        f"{tuple(term.shape)} at site {site.name!r}; it must return the batch shape "
        f"{tuple(wanted)}: one term per batch element, rows summed."
    )
