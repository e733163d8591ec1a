"""The handler that lets estimators draw at a Pyro program's random sites."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pyro.distributions import Delta, Unit
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator
from pgplugins.core.finite import require_unwritten, version_of
from pgplugins.core.fit import check_draw, fits_for_good, misfit, suggestion
from pgplugins.core.learning import is_tracing
from pgplugins.core.parts import describe, element
from pgplugins.core.pooling import Pool
from pgplugins.core.provenance import Sources, Tracked, plain
from pgplugins.core.terms import CostTerm, Site
from pgplugins.distribution import carried_estimator, unmasked, unwrapped
from pgplugins.errors import EstimatorError, ProgramError, ShapeError
from pgplugins.infer.binding import BoundEstimators
from pgplugins.infer.choice import EstimatorRules
from pgplugins.infer.dependencies import Dependencies
from pgplugins.infer.layout import in_program, plates_of, weighed_cost
from pgplugins.infer.recording import Recording
from pgplugins.infer.refusals import (
    refuse_cut_paths,
    refuse_joined_particles,
    refuse_pyro_baseline,
    refuse_unknown,
    require_kept,
)
from pgplugins.plugins import Site as SiteInfo


class NestingUnknown(Exception):
    """A site with several rows was met before the number of plates was known."""


class Draws(Recording):
    """Draws at every random site with the site's estimator, and keeps what it drew.

    Args:
        rules: Which estimator a site gets.
        bound: The objective's copies of the estimators.
        dependencies: How this run finds what is downstream of what.
        max_plate_nesting: Number of batch dimensions that plates use, the particles
            included; rows of sites lie to the left of them.
        particle_dim: The dimension of the particles' plate, if there is one.
        pool: The processes that share the estimate.
    """

    def __init__(
        self,
        rules: EstimatorRules,
        bound: BoundEstimators,
        dependencies: Dependencies,
        max_plate_nesting: float,
        particle_dim: int | None,
        pool: Pool,
    ) -> None:
        """Start a run."""
        super().__init__(dependencies)
        self.rules = rules
        self.bound = bound
        self.max_plate_nesting = max_plate_nesting
        self.particle_dim = particle_dim
        self.pool = pool
        self.sites: dict[str, Site] = {}
        self.random: list[str] = []
        self.paths: dict[str, Tensor] = {}
        self.off_support: set[str] = set()
        self.costs: list[CostTerm] = []
        self.factors: Sources = 0
        # Guide and model in one program: factors may be the model's, which are costs,
        # and every latent is met twice.
        self.joint = False
        self._misfits: list[str] = []
        self._drawn: dict[str, tuple[Tensor, Any]] = {}
        self._versions: dict[str, tuple[Tensor, int]] = {}
        self._row_dims: set[int] = set()
        self._cut = False

    def _pyro_post_sample(self, msg: Any) -> None:
        super()._pyro_post_sample(msg)
        drawn = self._drawn.pop(msg["name"], None)
        if drawn is not None:
            require_kept(msg, *drawn)

    def _meet_again(self, msg: Any) -> None:
        if not self.joint:
            super()._meet_again(msg)

    def _pyro_sample(self, msg: Any) -> None:
        fn = msg["fn"]
        if site_is_subsample(msg):
            return
        if not isinstance(fn, Distribution):
            refuse_unknown(msg)
            return
        wrapped = "base_dist" in fn.__dict__
        base = unmasked(unwrapped(fn)) if wrapped else fn
        kind = element(base) if wrapped else fn
        if isinstance(kind, Unit):
            if not self.joint:
                self._draw_factor(msg, kind)
        elif not (msg["is_observed"] or isinstance(kind, Delta)):
            estimator = self._estimator(msg["name"], fn, base, msg["infer"] or {})
            if wrapped:
                msg["fn"] = unwrapped(fn)
            if msg["value"] is not None:
                self._adopt(msg, estimator, base)
            elif estimator is None:
                self.random.append(msg["name"])
            else:
                self._draw(msg, estimator, base)

    def _draw_factor(self, msg: Any, fn: Any) -> None:
        """Treat a guide's factor: the density of a draw that was made out of sight."""
        if fn.has_rsample:
            return
        name = msg["name"]
        draw = Draw(dist=fn, value=fn.sample().unsqueeze(0))
        self.dependencies.everything()
        upstream = self.dependencies.upstream_now()
        bit = self.dependencies.source(name, many_rows=False)
        self.dependencies.everything()
        estimator = self.bound.bind(
            name, self.rules.choose(SiteInfo(name, fn, {"estimator": "score_function"}))
        )
        draw.particle_dim, draw.pool = self.particle_dim, self.pool.at(name)
        self.sites[name] = Site(name, estimator, draw, plates_of(msg), bit, upstream)
        self.factors |= bit

    def _adopt(self, msg: Any, estimator: Estimator | None, base: Distribution) -> None:
        """Take a value that another handler (``poutine.replay``) set for the draw."""
        name = msg["name"]
        if name in self.sites:
            return
        self.random.append(name)
        if estimator is None or estimator.traits.pathwise:
            return
        draw = estimator.adopt(base, plain(msg["value"]).detach())
        if draw is None:
            raise ProgramError(
                f"The value of site {name!r} was set by another handler (such as "
                f"poutine.replay), but estimator {estimator.name!r} has to draw it "
                'itself. Choose "score_function" or "reparameterized" for the site.'
            )
        adopted = draw
        _, upstream = self.dependencies.draw(base, lambda: adopted)
        self._add(msg, estimator, draw, upstream)

    def _draw(self, msg: Any, estimator: Estimator, base: Distribution) -> None:
        name = msg["name"]
        if msg["args"] or msg["kwargs"]:
            raise ProgramError(
                f"Site {name!r} passes arguments on to its distribution "
                f"({msg['args'] or msg['kwargs']}). Write .expand(...) or a plate "
                "instead of a sample shape."
            )
        self.random.append(name)
        if estimator.traits.pathwise:
            path = estimator.draw(base)
            value = path.row
            if path.off_support:
                self.off_support.add(name)
            self.paths[name] = value
            self._versions[name] = value, version_of(value)
            msg["value"] = value
            self._drawn[name] = value, msg["cond_indep_stack"]
            return
        try:
            draw, upstream = self.dependencies.draw(base, lambda: estimator.draw(base))
        except EstimatorError as error:
            raise EstimatorError(f"At site {name!r}: {error}") from error
        check_draw(name, estimator, draw, base)
        if type(draw.value) is Tracked:
            draw = replace(draw, value=plain(draw.value))
        self._add(msg, estimator, draw, upstream)

    def _add(
        self, msg: Any, estimator: Estimator, draw: Draw, upstream: Sources
    ) -> None:
        """Add a site to the run and show its value to the program."""
        name = msg["name"]
        draw.particle_dim, draw.pool = self.particle_dim, self.pool.at(name)
        row_dim = None if draw.rows == 1 else self._row_dim(name, draw)
        if draw.off_support:
            self.off_support.add(name)
        bit = self.dependencies.source(name, many_rows=row_dim is not None)
        self._versions[name] = draw.value, version_of(draw.value)
        site = Site(name, estimator, draw, plates_of(msg), bit, upstream, row_dim)
        self.sites[name] = site
        value = draw.row if row_dim is None else self._shown(site)
        if value.requires_grad:
            self.paths[name] = value
        msg["value"] = self.dependencies.mark(value, bit | upstream)
        self._drawn[name] = msg["value"], msg["cond_indep_stack"]

    def _shown(self, site: Site) -> Tensor:
        """Return the rows as the program sees them.

        Where they are alike they may stay so along plates and other sites' rows, whose
        elements a program must not join; every particle has an entry of its own.
        """
        draw = site.draw
        shared = self._row_dims.union(plate.dim for plate in site.plates)
        value = draw.value_beside(shared - {self.particle_dim})
        return in_program(site, value, len(draw.dist.event_shape))

    def _estimator(
        self, name: str, fn: Distribution, base: Distribution, infer: Mapping[str, Any]
    ) -> Estimator | None:
        """Return the site's estimator; ``None`` after noting that it does not fit."""
        asked = infer.get("estimator")
        if is_tracing():
            return self.bound.of(name)  # chosen, and found to fit, by the run before
        circumstances = (id(asked), _kinds(fn), fn.event_shape, base.has_rsample)
        known = self.rules.steady and self.bound.recall(name, circumstances)
        if known:
            return known
        refuse_pyro_baseline(name, infer)
        choice = self.rules.choose(SiteInfo(name, fn, infer))
        reason = misfit(choice.estimator, base)
        if reason is not None:
            self._misfits.append(
                f"{choice.estimator.name!r} at site {name!r}, which draws from "
                f"{describe(base)}: {reason} (write {suggestion(base)})"
            )
            return None
        estimator = self.bound.bind(name, choice)
        if carried_estimator(fn) is None and fits_for_good(estimator, base):
            self.bound.remember(name, circumstances, estimator, asked)
        return estimator

    def _row_dim(self, name: str, draw: Draw) -> int:
        if math.isinf(self.max_plate_nesting):
            raise NestingUnknown
        dim = -int(self.max_plate_nesting) - len(self._row_dims) - 1
        if len(draw.dist.batch_shape) >= -dim:
            raise ShapeError(
                f"Site {name!r} has batch shape {tuple(draw.dist.batch_shape)}, which "
                f"reaches beyond max_plate_nesting={self.max_plate_nesting}. Raise it, "
                "or enclose the batch dimensions in plates."
            )
        self._row_dims.add(dim)
        return dim

    def _pyro_pgplugins_cost(self, msg: Any) -> None:
        msg["done"] = msg["kept"] = True
        plates = plates_of(msg)
        value, sources = self.dependencies.cost(
            lambda: weighed_cost(msg, plates, self._row_dims),
            msg["value"],
            msg["scale"],
            msg["mask"],
        )
        if self.particle_dim is not None:
            paths = self.paths.values()
            refuse_joined_particles(msg["name"], msg["value"], self.particle_dim, paths)
        sources |= self.dependencies.upstream_now()
        self.costs.append(CostTerm(msg["name"], value, plates, sources))

    def _pyro_pgplugins_truncation(self, msg: Any) -> None:
        self._cut = True

    def finish(self) -> None:
        """Raise for what can only be said once the whole program has run.

        Raises:
            EstimatorError: Listing the sites that their estimators do not fit, or an
                estimator relies on a path that the program has cut.
            ProgramError: A name in ``estimators`` belongs to no site, or the program
                has written into a draw.
        """
        if self._misfits:
            raise EstimatorError(
                "These estimators do not fit their sites: "
                + "; ".join(self._misfits)
                + ". Choose per site: estimators={...} or infer={'estimator': ...}."
            )
        if self._cut:
            refuse_cut_paths(self.sites.values())
        for site in self.sites.values():
            site.in_python = bool(self.dependencies.in_python & site.bit)
        for name, (value, version) in self._versions.items():
            require_unwritten(value, version, f"site {name!r}")
        if not self.dependencies.branches:
            # A program that branches on its draws may meet the site in another run.
            self.rules.require_matched(self.random)


class NoEstimators(Messenger):
    """Refuses an estimator at a site of a model, where it would not be read."""

    def _pyro_sample(self, msg: Any) -> None:
        if (msg["infer"] or {}).get("estimator") is not None:
            raise ProgramError(
                f"Site {msg['name']!r} of the model names an estimator, but latents "
                "are drawn in the guide. Write infer={'estimator': ...} at the guide's "
                "site, or estimators={...} in the objective."
            )


def _kinds(dist: Distribution) -> tuple[type, ...]:
    kinds = [type(dist)]
    while (base := dist.__dict__.get("base_dist")) is not None:
        dist = base
        kinds.append(type(dist))
    return tuple(kinds)
