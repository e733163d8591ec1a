"""Particles that a bound joins: their costs, and what it tells each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from pgplugins.core.credit import Credit
from pgplugins.core.own_parameters import OwnParameters
from pgplugins.core.terms import CostTerm, Plate, Site
from pgplugins.errors import EstimatorError, NotFiniteError, ProgramError
from pgplugins.infer.layout import same_scale
from pgplugins.objectives.renyi import RenyiBound
from pgplugins.plugins.suggestion import did_you_mean


class Particles:
    """Where a run's particles lie, and its elements that have bounds of their own.

    Args:
        dim: The dimension of the particles' plate; ``None`` if a run is one particle.
        count: How many particles there are side by side.
        plate: The name of the plate whose elements have bounds of their own.
    """

    def __init__(self, dim: int | None, count: int, plate: str | None) -> None:
        """Wait for the costs to show the plate."""
        self.scale: float | Tensor = 1.0
        """What every element's bound counts for, as its plate is subsampled."""
        self._dim = dim
        self._count = 1 if dim is None else count
        self._name = plate
        self._plate: Plate | None = None

    def require_plate(self, found: Iterable[CostTerm | Site]) -> None:
        """Raise if there is no plate of the name at all.

        Raises:
            ProgramError: Naming those that there are.
        """
        if self._name is None:
            return
        plates = {p.name for of in found for p in of.plates if p.dim != self._dim}
        if self._name not in plates:
            there_are = ", ".join(repr(name) for name in sorted(plates)) or "none"
            raise ProgramError(
                f"plate={self._name!r}: the program has no vectorized plate of that "
                f"name.{did_you_mean(self._name, plates)} Plates: {there_are}."
            )

    def per_particle(self, costs: Iterable[CostTerm]) -> Tensor:
        """Sum the costs of a run, shape ``(particles,)``, or ``(particles, elements)``.

        Raises:
            ProgramError: A cost is outside of the plate, or they differ in scale.
        """
        total: Tensor | None = None
        for cost in costs:
            part = self._total(cost) if self._name is None else self._by_element(cost)
            total = part if total is None else total + part
        assert total is not None
        return total

    def own_plate(self, of: CostTerm | Site) -> Plate | None:
        """Return the plate whose elements have bounds of their own, if one has.

        Raises:
            ProgramError: A cost or a site is outside of it.
        """
        if self._name is None:
            return None
        for plate in of.plates:
            if plate.name == self._name:
                return plate
        raise ProgramError(
            f"Site {of.name!r} is outside of plate {self._name!r}, whose "
            "elements are to have bounds of their own: what they share has no "
            "element to count in. Leave plate out, for one bound over the model."
        )

    def _total(self, cost: CostTerm) -> Tensor:
        return self._keep(cost.value, [])

    def _by_element(self, cost: CostTerm) -> Tensor:
        plate = self.own_plate(cost)
        assert plate is not None
        if self._plate is None:
            self._plate, self.scale = plate, cost.scale
        if not same_scale(cost.scale, self.scale):
            raise ProgramError(
                f"The costs in plate {self._name!r} are scaled differently (site "
                f"{cost.name!r} by {cost.scale}, others by {self.scale}), so that an "
                "element's bound has no scale of its own. Leave plate out, or scale "
                "all of them alike."
            )
        return self._keep(cost.value / cost.scale, [plate])

    def _keep(self, value: Tensor, plates: Sequence[Plate]) -> Tensor:
        """Sum over all dimensions but those of the particles and of some plates."""
        wanted = [] if self._dim is None else [(self._dim, self._count)]
        wanted += [(plate.dim, plate.size) for plate in plates]
        shape = [1] * max((-dim for dim, _ in wanted), default=0)
        for dim, size in wanted:
            shape[dim] = size
        target = torch.broadcast_shapes(value.shape, tuple(shape))
        kept = {dim for dim, _ in wanted}
        summed = [d for d in range(-len(target), 0) if d not in kept]
        value = value.expand(target)
        value = value.sum(summed) if summed else value
        return value.unsqueeze(0) if self._dim is None else value

    def credit(self, bound: RenyiBound, index: int | slice) -> Credit:
        """Return what the bound tells the draws of a run.

        Args:
            bound: Over the particles of all runs.
            index: Which of them the run has.
        """
        others = None if bound.others is None else self.scale * bound.others[index]
        return Credit(
            signal=self._elements(self.scale * bound.loss),
            others=None if others is None else self._side_by_side(others),
            path_factor=self._side_by_side(bound.path_factor[index]),
        )

    def own_share(self, site: Site) -> float | Tensor:
        """Return what a site's own log q is multiplied by inside of a bound."""
        return site.own_weight if self._plate is None else site.own_weight / self.scale

    def _elements(self, value: Tensor) -> Tensor:
        """Put the elements where their plate is."""
        if self._plate is None:
            return value
        return value.reshape(*value.shape, *(1,) * (-self._plate.dim - 1))

    def _side_by_side(self, value: Tensor) -> Tensor:
        """Put the particles, which come first, where theirs is."""
        value = self._elements(value)
        if self._dim is None:
            return value
        count, rest = value.shape[0], value.shape[1:]
        return value.reshape(count, *(1,) * (-self._dim - 1 - len(rest)), *rest)


def require_joinable(sites: Sequence[Site]) -> None:
    """Raise unless every site's draws are particles that a bound can join.

    Raises:
        EstimatorError: An estimator draws several rows, or one that puts the direct
            gradient on the path has a site downstream that is corrected as well.
    """
    for site in sites:
        if site.traits.many_rows or site.row_dim is not None:
            raise EstimatorError(
                f"Estimator {site.estimator.name!r} at site {site.name!r} draws "
                "several rows, which are averaged; a bound that joins particles takes "
                "the logarithm of their mean weight. Write an estimator of one row "
                'there: "score_function", "reparameterized", "hybrid", "lax" or '
                '"doubly_reparameterized".'
            )
    for parent in (s for s in sites if s.traits.own_score == "path"):
        own = parent.draw.extra
        if not isinstance(own, OwnParameters):
            continue
        for site in sites:
            if site is parent or not own.reach(site.draw.log_prob):
                continue
            raise EstimatorError(
                f"The parameters of site {site.name!r} depend on site "
                f"{parent.name!r}, whose estimator {parent.estimator.name!r} weights "
                f"all that comes back along its path; what {site.estimator.name!r} "
                f"sends there is to be weighted in another way. Write "
                f'"reparameterized" for {parent.name!r}.'
            )


def refuse_weight_zero(joined: Tensor, costs: Sequence[CostTerm]) -> None:
    """Raise if some particles, but not all, have weight zero.

    Args:
        joined: Minus the log-weights; the particles come first.
        costs: What they are made of.

    Raises:
        NotFiniteError: Naming where, and what it means.
    """
    dead = joined == torch.inf
    if joined.isnan().any() or not dead.any() or dead.all(0).any():
        return
    where = next((c.name for c in costs if (c.value == torch.inf).any()), None)
    at = "" if where is None else f", from site {where!r}"
    raise NotFiniteError(
        f"{int(dead.sum())} of {dead.numel()} weights p / q are zero{at}: the guide "
        "has drawn what is impossible under the model. Particles are independent, so "
        "all of them may be impossible at once: the bound is minus infinity however "
        "many there are, and has no gradient. Let the guide draw inside of the model's "
        "support, or give the impossible a small probability."
    )
