"""What an explanation warns of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pyro.distributions import Unit
from torch.distributions import Distribution

from pgplugins.core.estimator import Estimator
from pgplugins.core.fit import misfit
from pgplugins.core.parts import element
from pgplugins.diagnostics.explain_layout import Layout
from pgplugins.diagnostics.explain_tally import SiteTally
from pgplugins.diagnostics.reference import SIGNIFICANCE
from pgplugins.diagnostics.statistics import GradientStatistics
from pgplugins.estimators.enumerate import Enumerate

FEW_STATES = 1024
"""Enumeration is recommended for supports of at most this many points."""

LEAST_SNR = 1.0


@dataclass(frozen=True)
class SiteInUse:
    """A site as the objective has it, and what was measured there."""

    estimator: Estimator
    law: Distribution
    tally: SiteTally
    reached: set[str]

    @property
    def acting(self) -> Estimator:
        """The estimator that draws, where the site's own chooses among others."""
        return self.estimator.in_use

    @property
    def used(self) -> GradientStatistics | None:
        """The part that is nearest to what the estimator does."""
        if "enumerate_support" in self.acting.traits.needs:
            return None  # no noise comes from here
        tally = self.tally
        if "differentiable_cost" in self.acting.traits.needs:
            return tally.pathwise or tally.score
        return tally.score or tally.pathwise


def about_site(site: SiteInUse) -> Iterator[str]:
    """Yield what the site itself gives rise to."""
    traits, name = site.acting.traits, site.acting.name
    if not traits.unbiased:
        yield f"{name} is biased: its mean is not the gradient."
    if site.tally.score is None and site.tally.pathwise is None:
        yield (
            "it has neither a score nor a path, so what its distribution contributes "
            "is not among the parts."
        )
    if isinstance(element(site.law), Unit):
        yield (
            "pyro.factor in the guide stands for the density of a draw that was made "
            "out of sight, so it is taken by its score. Write the draw as a "
            "pyro.sample site to choose its estimator, or pyro.factor(..., "
            "has_rsample=True) if the draw is reparameterized."
        )
    elif site.acting is site.estimator and traits.takes_recorded_draws:
        yield from _enumerable(site)
    yield from _jump(site)


def _jump(site: SiteInUse) -> Iterator[str]:
    traits, name = site.estimator.traits, site.estimator.name
    found = site.tally.disagreement()
    if found is None or found.test.p >= SIGNIFICANCE:
        return
    of, caution = " of its arctangent", ""
    if not found.bounded:
        of = ""
        caution = (
            "(Or its tails are so heavy that these draws do not show its mean: then "
            "more of them change both parts.) "
        )
    yield (
        f"the cost jumps: score and pathwise part{of} differ by "
        f"{abs(found.test.z):.1f} standard errors on the same draws, so the pathwise "
        f"part misses what the cost gains or loses at the jump. {caution}"
        + (
            f'{name} needs a continuous cost: write "score_function" or "lax".'
            if "differentiable_cost" in traits.needs
            else f"{name} does not need a continuous cost, so it is right here."
        )
    )


def _enumerable(site: SiteInUse) -> Iterator[str]:
    by_support = Enumerate(max_rows=FEW_STATES)
    if misfit(by_support, site.law) is None:
        states = by_support.draw(site.law).rows
        yield (
            f"estimated by score, but its support has {states} states only: "
            '"enumerate" leaves no noise from this site.'
        )


def about_parameters(
    stats: GradientStatistics, layout: Layout, sites: Mapping[str, SiteInUse]
) -> Iterator[tuple[list[str], str]]:
    """Yield what the gradient in use gives rise to, and the sites that it concerns.

    Args:
        stats: Of the gradient that the estimators in use give.
        layout: Of the parameters.
        sites: By name.
    """
    means = layout.split(stats.mean)
    errors = layout.split(stats.squared_error)
    for parameter, mean in means.items():
        reaching = [name for name, site in sites.items() if parameter in site.reached]
        squared_error = errors[parameter].sum().item()
        signal = mean.norm().item()
        if signal == squared_error == 0.0:
            yield (
                reaching,
                f"{parameter!r} gets no gradient: it is exactly zero in every run. "
                + (
                    "The estimators in use do not see how the cost depends on it."
                    if reaching
                    else "No cost depends on it."
                ),
            )
            continue
        noise = math.sqrt(squared_error * stats.runs)
        # The squared mean is too large by its own error, on average.
        snr = math.sqrt(max(signal**2 - squared_error, 0.0)) / max(noise, 1e-300)
        if snr >= LEAST_SNR:
            continue
        told = (
            ""
            if signal**2 > 9 * squared_error
            else " The mean cannot be told from zero, as near an optimum."
        )
        yield (
            _noisiest(parameter, layout, sites, reaching),
            f"SNR {snr:.2g} for {parameter!r}: in one call its gradient is mostly "
            f"noise.{told} Take more draws, or an estimator with less variance "
            "(pg.compare).",
        )


def _noisiest(
    parameter: str, layout: Layout, sites: Mapping[str, SiteInUse], names: list[str]
) -> list[str]:
    noise = {}
    for name in names:
        used = sites[name].used
        if used is not None:
            noise[name] = layout.split(used.squared_error)[parameter].sum().item()
    return [max(noise, key=noise.__getitem__)] if noise else []
