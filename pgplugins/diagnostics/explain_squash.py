"""Does the cost jump? A test that heavy tails cannot deceive.

Score and pathwise part agree in expectation if the cost is continuous, but where its
tails are heavy the draws do not show either mean, and a t test of their difference
rejects far too often. If c is continuous, so is ``arctan((c - centre) / scale)``, which
is bounded: score and path of that cost agree as well, and their draws show it. A jump
of c is a jump of its arctangent.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pgplugins.core.terms import Site
from pgplugins.diagnostics.explain_layout import Layout
from pgplugins.diagnostics.explain_parts import gradients
from pgplugins.diagnostics.explain_probe import Cut, Probe
from pgplugins.diagnostics.statistics import BiasTest, bias_test
from pgplugins.infer.run import Run

PILOT = 50
"""Costs from which a site learns the scale of its cost; they are not tested."""

_LONGEST_PILOT = 10_000


class Squash:
    """The arctangent of a site's cost, in units of how much that cost varies."""

    def __init__(self) -> None:
        """Know nothing of the cost."""
        self._pilot = torch.empty(0, dtype=torch.float64)
        self._centre = 0.0
        self._scale = 0.0

    def __call__(self, cost: Tensor) -> Tensor | None:
        """Return the arctangent, or learn from the cost while that is not possible."""
        if self._scale > 0:
            return torch.atan((cost - self._centre) / self._scale)
        values = cost.detach().reshape(-1).to("cpu", torch.float64)
        self._pilot = torch.cat([self._pilot, values])[-_LONGEST_PILOT:]
        if len(self._pilot) >= PILOT:
            low, centre, high = (
                self._pilot.quantile(q).item() for q in (0.25, 0.5, 0.75)
            )
            self._centre = centre
            self._scale = (high - low) / 2 or self._pilot.std().item()
        return None


class JumpTest:
    """Compares score and pathwise part of the squashed cost at one site.

    Args:
        layout: Of the parameters.
        size: Independent draws in one call.
    """

    def __init__(self, layout: Layout, size: int) -> None:
        """Start without a call."""
        self._layout = layout
        self._size = size
        self._applies = True
        self._squash = Squash()
        self._stats = layout.statistics()
        self._call: list[Tensor | None] = []

    def add_run(self, site: Site, run: Run) -> None:
        """Take in one of the runs of a call."""
        if not self._applies:
            return
        cut, probe = site.draw.extra, site.estimator
        assert isinstance(cut, Cut) and isinstance(probe, Probe)
        cost = local_cost(site, run)
        if cost is None or cut.leaf is None or not probe.scores:
            # Whether it applies may depend on the draws, so it is all runs or none.
            self._applies = False
            return
        squashed = self._squash(cost)
        if squashed is None:
            self._call.append(None)
            return
        parameters = self._layout.tensors
        score = gradients((squashed.detach() * site.draw.log_prob[0]).sum(), parameters)
        (slope,) = gradients(squashed.sum(), [cut.leaf])
        path = gradients(None if slope is None else cut.drawn, parameters, slope)
        difference = self._layout.join(score) - self._layout.join(path)
        self._call.append(difference / self._size)

    def end_call(self) -> None:
        """Count the call, unless a part of it has taught the scale."""
        differences = [d for d in self._call if d is not None]
        if differences and len(differences) == len(self._call):
            self._stats.add(torch.stack(differences).sum(0))
        self._call = []

    def result(self) -> BiasTest | None:
        """The test, or ``None`` if it does not apply or has seen too little."""
        if not self._applies or self._stats.runs < 2:
            return None
        exact = torch.zeros_like(self._stats.mean)
        return bias_test(self._stats, exact, exact, heavy_tails=True)


def local_cost(site: Site, run: Run) -> Tensor | None:
    """The cost downstream of a site, element by element and attached to the draw.

    Returns:
        The site's batch shape; ``None`` if the arctangent of the cost cannot be tested
        there: another site's distribution depends on the draw, so that its path leads
        through that site as well, or a cost joins several elements of a plate.
    """
    if any(other.upstream & site.bit for other in run.sites):
        return None
    total: Tensor | None = None
    for cost in run.costs:
        if not cost.upstream & site.bit:
            continue
        foreign = [p.dim for p in cost.plates - site.plates]
        here = [dim for dim in foreign if cost.value.dim() >= -dim]
        value = cost.value.sum(here, keepdim=True) if here else cost.value
        total = value if total is None else total + value
    if total is None:
        return None
    batch_shape = site.draw.dist.batch_shape
    while total.dim() > len(batch_shape) and total.shape[0] == 1:
        total = total.squeeze(0)
    return total if total.shape == batch_shape else None
