"""The costs of a run while the fold goes through it, summed for each site.

Neighbouring sites have most of their downstream costs in common, so sums are extended
from site to site where they can be.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

from pgplugins.core.algebra import spread
from pgplugins.core.provenance import Sources
from pgplugins.core.terms import CostTerm, Plate, Site
from pgplugins.errors import ProgramError, ShapeError


class Signal(NamedTuple):
    """What a site is told of its cost, in the shape that its estimator expects.

    Args:
        value: Rows first, then the batch.
        upstream: The sites that the cost depends on.
    """

    value: Tensor
    upstream: Sources


class Ledger:
    """The costs so far, with sums that neighbouring sites share.

    Args:
        sites: All that will ask, in execution order.
        costs: The cost terms of the run.
        first_order: The result will be differentiated once.
    """

    def __init__(
        self, sites: Iterable[Site], costs: Iterable[CostTerm], *, first_order: bool
    ) -> None:
        """Start with every cost waiting for its latest site."""
        self.costs = list(costs)
        self._row_dims = {s.row_dim for s in sites if s.row_dim is not None}
        self._agenda = _Agenda()
        # Sites that look at more of their cost than its value.
        self._differentiating: Sources = 0
        for site in sites:
            self._agenda.ahead |= site.bit
            if not first_order or _differentiates(site):
                self._differentiating |= site.bit
        self._groups: dict[frozenset[Plate], _Group] = {}
        for cost in self.costs:
            self._group(cost.plates).append(cost)

    def _group(self, plates: frozenset[Plate]) -> _Group:
        group = self._groups.get(plates)
        if group is None:
            group = self._groups[plates] = _Group(plates, self._agenda)
        return group

    def add_zero(self, term: CostTerm) -> None:
        """Add a term that is zero in value: only its gradient can reach a site."""
        self.costs.append(term)
        if term.upstream & self._differentiating:
            self._group(term.plates).append(term)

    def signal(self, site: Site) -> Signal | None:
        """Sum the costs downstream of a site, in the shape that its estimator expects.

        Plates foreign to the site are summed out; its own rows come first.
        """
        total: Tensor | None = None
        upstream = 0
        held = not site.bit & self._differentiating
        for group in self._agenda.groups_at(site.bit):
            value, sources = group.downstream(site.bit)
            if value is None:
                continue
            self._agenda.running.append(group)
            upstream |= sources
            if held and value.requires_grad:
                value = value.detach()
            if group.plates is not site.plates:
                value = _sum_out(value, group.plates - site.plates)
            part = _arrange(site, value, held=held)
            total = part if total is None else total + part
        self._agenda.ahead &= site.bit - 1
        return None if total is None else Signal(total, upstream)

    def average(self, site: Site, row_dim: int) -> None:
        """Replace every cost that has a site's rows by its weighted mean over them.

        Raises:
            ProgramError: A cost joins elements whose rows have weights of their own.
            ShapeError: A cost has another number of rows.
        """
        weight = _weight(site, row_dim)
        for cost in self.costs:
            value = cost.value
            if value.dim() < -row_dim or value.shape[row_dim] == 1:
                continue
            _check_average(site, cost, weight, self._row_dims)
            cost.value = (
                value.mean(row_dim, keepdim=True)
                if weight is None
                else (weight * value).sum(row_dim, keepdim=True)
            )
            cost.upstream &= ~site.bit
        for group in self._groups.values():
            group.forget()
        self._agenda.running = []


class _Agenda:
    """Which groups a site has to ask: those with a sum, and those with a cost for it.

    A program may have a plate for every few sites, and a site need not ask all.
    """

    def __init__(self) -> None:
        self.ahead: Sources = 0  # sites that are yet to be asked for, latest first
        self.running: list[_Group] = []
        self._due: dict[int, dict[_Group, None]] = {}

    def wake(self, group: _Group, latest: int) -> None:
        self._due.setdefault(latest, {})[group] = None

    def groups_at(self, bit: Sources) -> Iterable[_Group]:
        """Return the groups to ask; whoever has a sum afterwards is running."""
        running, self.running = self.running, []
        due = self._due.pop(bit.bit_length(), None)
        return running if due is None else {**dict.fromkeys(running), **due}


class _Group:
    """The costs of the same plates, with the last sum that was asked for.

    A later site's downstream costs are mostly an earlier site's too, so the last sum is
    extended where it can be; a cost that is not in it waits for the latest site that it
    depends on. The fold of a chain is then linear in its sites.
    """

    def __init__(self, plates: frozenset[Plate], agenda: _Agenda) -> None:
        self.plates = plates
        self._agenda = agenda
        self._waiting: dict[int, list[CostTerm]] = {}
        self._inside: list[CostTerm] = []
        self._total: Tensor | None = None
        self._upstream: Sources = 0
        self._common: Sources = -1  # sites that every cost inside depends on

    def append(self, cost: CostTerm) -> None:
        latest = (cost.upstream & self._agenda.ahead).bit_length()
        if latest:
            waiting = self._waiting.get(latest)
            if waiting is None:
                waiting = self._waiting[latest] = []
                self._agenda.wake(self, latest)
            waiting.append(cost)

    def forget(self) -> None:
        """Start over: costs have changed."""
        inside, self._inside = self._inside, []
        for cost in inside:
            self.append(cost)
        self._total, self._upstream, self._common = None, 0, -1

    def downstream(self, bit: Sources) -> tuple[Tensor | None, Sources]:
        """Sum the costs that depend on a site; also return all that they depend on."""
        if not self._common & bit:
            self.forget()
        for cost in self._waiting.pop(bit.bit_length(), ()):
            self._inside.append(cost)
            value = cost.value
            self._total = value if self._total is None else self._total + value
            self._upstream |= cost.upstream
            self._common &= cost.upstream
        return self._total, self._upstream


def _differentiates(site: Site) -> bool:
    return "differentiable_cost" in site.traits.needs


def _sum_out(value: Tensor, plates: Iterable[Plate]) -> Tensor:
    dims = [p.dim for p in plates if value.dim() >= -p.dim]
    return value.sum(dims, keepdim=True) if dims else value


def _arrange(site: Site, value: Tensor, *, held: bool) -> Tensor:
    """Put the site's rows first and share the cost among its batch elements."""
    batch_shape = site.draw.dist.batch_shape
    if site.row_dim is None:
        if value.shape == batch_shape:
            return value.unsqueeze(0)
        value = value.unsqueeze(0)
        if value.dim() - 1 < len(batch_shape):
            value = value.reshape(
                1, *(1,) * (len(batch_shape) + 1 - value.dim()), *value.shape[1:]
            )
    else:
        # Sites drawn later have been averaged over: what lies further left is 1.
        size = -site.row_dim
        if value.dim() > size:
            value = value.reshape(value.shape[value.dim() - size :])
        elif value.dim() < size:
            value = value.reshape(*(1,) * (size - value.dim()), *value.shape)
        if value.shape[0] == 1:
            value = value.expand(site.draw.rows, *value.shape[1:])
    rows, between = value.shape[0], value.shape[1 : value.dim() - len(batch_shape)]
    shape = (rows, *between, *batch_shape)
    if held or not site.traits.scores_to_any_order:
        return spread(value, shape)
    scores = site.draw.log_prob.reshape(rows, *(1,) * len(between), *batch_shape)
    return spread(value, shape, scores)


def _weight(site: Site, row_dim: int) -> Tensor | None:
    """Return the weights with the rows at ``row_dim``; ``None`` if they are equal."""
    weight = site.draw.weight
    if weight is None:
        return None
    batch_dims = weight.dim() - 1
    between = -row_dim - 1 - batch_dims
    return weight.reshape(weight.shape[0], *(1,) * between, *weight.shape[1:])


def _check_average(
    site: Site, cost: CostTerm, weight: Tensor | None, row_dims: set[int]
) -> None:
    row_dim = site.row_dim
    assert row_dim is not None
    if cost.value.shape[row_dim] != site.draw.rows:
        raise ShapeError(
            f"{cost.name!r} has size {cost.value.shape[row_dim]} in dimension "
            f"{row_dim}, which holds the {site.draw.rows} rows of site {site.name!r}. "
            "Raise max_plate_nesting if the program has more batch dimensions."
        )
    if weight is None:
        return
    shared = {p.dim for p in cost.plates & site.plates} | row_dims
    for dim in range(1 - weight.dim(), 0):
        if weight.shape[dim] == 1 or dim in shared:
            continue
        plate = next((p for p in site.plates if p.dim == dim), None)
        where = f"plate {plate.name!r}" if plate else f"batch dimension {dim}"
        raise ProgramError(
            f"The rows of site {site.name!r} ({site.estimator.name}) are weighted "
            f"element by element of {where}, but cost {cost.name!r} joins "
            "several elements, so their combinations would be needed. Write "
            f".to_event({-dim}) at site {site.name!r} to draw the combinations, or "
            'give it another estimator, such as "score_function".'
        )
