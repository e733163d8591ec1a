"""The parts of a gradient in one run: score, pathwise and explicit, site by site."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pgplugins.core.fold import fold
from pgplugins.core.terms import CostTerm, Site
from pgplugins.diagnostics.explain_probe import Cut, Probe
from pgplugins.infer.run import Run
from pgplugins.infer.total import total_cost

Gradients = Sequence[Tensor | None]
"""One for each parameter; ``None`` where nothing depends on it."""


class Parts(NamedTuple):
    """The parts of one site's gradient; ``None`` for what it does not have."""

    score: Gradients | None
    pathwise: Gradients | None
    explicit: Gradients


def take_apart(
    run: Run, parameters: Sequence[Tensor]
) -> tuple[dict[str, Parts], Gradients]:
    """Differentiate one run along every way that leads to the parameters.

    Args:
        run: Drawn by :class:`~pgplugins.diagnostics.explain_probe.Probe`.
        parameters: What the gradient is taken for.

    Returns:
        The parts of each site, and the gradient of all costs with all draws held.
    """
    sites = run.sites
    cuts = [_cut(site) for site in sites]
    folded = fold(sites, run.costs, first_order=True)
    paths = _pathwise(folded, cuts, parameters)
    explicit = _Explicit(run.costs, parameters)
    found: dict[str, Parts] = {}
    for site, cut, path in zip(sites, cuts, paths, strict=True):
        probe = site.estimator
        assert isinstance(probe, Probe)
        score: Gradients | None = None
        if probe.scores:
            # Without a cost downstream there is no term.
            term = cut.score_term
            score = gradients(None if term is None else term.sum(), parameters)
        found[site.name] = Parts(score, path, explicit.of(site))
    return found, explicit.total


def _cut(site: Site) -> Cut:
    if site.draw.extra is None:
        site.draw.extra = Cut()
    cut: Cut = site.draw.extra
    return cut


def _pathwise(
    folded: Sequence[CostTerm], cuts: Sequence[Cut], parameters: Sequence[Tensor]
) -> list[Gradients | None]:
    """Pull the costs' slope at every draw back along the draw's own path.

    Last to first, because the slope at a draw includes what it changes at later sites:
    along their paths, or in their scores, whose terms are among the folded costs.
    """
    movable = [(i, c.leaf) for i, c in enumerate(cuts) if c.leaf is not None]
    slopes = dict(
        zip(
            (i for i, _ in movable),
            gradients(total_cost(folded), [leaf for _, leaf in movable]),
            strict=True,
        )
    )
    found: list[Gradients | None] = [None] * len(cuts)
    for i, _ in reversed(movable):
        cut, slope = cuts[i], slopes[i]
        earlier = [(j, leaf) for j, leaf in movable if j < i and cut.carried]
        pulled = gradients(
            cut.drawn if slope is not None else None,
            [*parameters, *(leaf for _, leaf in earlier)],
            slope,
        )
        found[i] = pulled[: len(parameters)]
        for (j, _), more in zip(earlier, pulled[len(parameters) :], strict=True):
            slopes[j] = _sum(slopes[j], more)
    return found


class _Explicit:
    """Gradients of costs with all draws held; most sites share theirs with others."""

    def __init__(self, costs: Sequence[CostTerm], parameters: Sequence[Tensor]) -> None:
        self._costs = costs
        self._parameters = parameters
        self._known: dict[tuple[int, ...], Gradients] = {}
        self.total = self._of(range(len(costs)))

    def of(self, site: Site) -> Gradients:
        """Return that of the costs downstream of a site."""
        return self._of(
            i for i, cost in enumerate(self._costs) if cost.upstream & site.bit
        )

    def _of(self, numbers: Iterable[int]) -> Gradients:
        key = tuple(numbers)
        if key not in self._known:
            total = total_cost([self._costs[i] for i in key]) if key else None
            self._known[key] = gradients(total, self._parameters)
        return self._known[key]


def gradients(
    output: Tensor | None, inputs: Sequence[Tensor], slope: Tensor | None = None
) -> Gradients:
    """Differentiate, and keep the graph; ``None`` where nothing depends on an input."""
    if output is None or not output.requires_grad or not inputs:
        return [None] * len(inputs)
    return torch.autograd.grad(
        output, inputs, slope, retain_graph=True, allow_unused=True
    )


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
