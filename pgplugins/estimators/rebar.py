"""REBAR: the score function with a relaxed cost as its control variate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.gumbel import softmax
from pgplugins.core.numbers import positive
from pgplugins.core.own_parameters import without_corrections
from pgplugins.core.relaxed import RelaxedSite, couple, relaxed_site
from pgplugins.core.tuning import Tuned


class Rebar(Estimator):
    """``(f(b) - eta f(z~)) s + eta d[f(z) - f(z~)]`` on a relaxation of the choice.

    The cost at a softened point explains most of the cost at the choice itself; what it
    takes away comes back along its path (Tucker et al. 2017, eq. 4). ``eta`` and the
    temperature follow the gradient of the squared estimate (section 3.2), always with
    values from before the current draw. The softened rows have weight zero, and their
    costs reach no parameter but this site's.

    Args:
        temperature: Where the temperature starts, above zero.
        tune: Tune ``eta`` and the temperature; ``False`` leaves ``eta = 1`` and the
            temperature as they are.

    Raises:
        InputError: The temperature is not a positive number.

    Example:
        >>> import torch
        >>> d = torch.distributions.Bernoulli(torch.tensor(0.3))
        >>> Rebar().draw(d).weight
        tensor([1., 0., 0.])
    """

    name: ClassVar[str] = "rebar"
    traits: ClassVar[Traits] = Traits(
        unbiased=True,
        needs=frozenset({"relaxation", "differentiable_cost"}),
        independent_rows=False,
        own_score="drop",
        cost_evaluations=3,
    )

    def __init__(self, temperature: float = 0.5, tune: bool = True) -> None:
        """Set where the temperature starts."""
        super().__init__()
        positive(temperature, "temperature")
        self.tune = tune
        self.tuned = Tuned(rate=0.01)
        start = [1.0, math.log(temperature)]
        self.tuned.start(torch.tensor(start, dtype=torch.float64))

    def draw(self, dist: Distribution) -> Draw:
        """Return the choice and, with weight zero, two softened points near it."""
        site = relaxed_site(dist)
        latents = couple(site.own)
        leaf = self.tuned.leaf()
        eta, log_temperature = leaf.to(site.own).unbind()
        softened = softmax(latents.both / log_temperature.exp())
        rows = torch.cat([latents.choice.unsqueeze(0), softened])
        weight = torch.tensor([1.0, 0.0, 0.0]).to(site.own)
        return Draw(
            dist=dist,
            value=site.value(rows),
            weight=weight.reshape(3, *(1,) * site.batch),
            extra=_Extra(site, latents.choice, leaf, eta),
            off_support=True,
        )

    def gradient_term(self, draw: Draw, cost: Tensor) -> Tensor:
        """Return the corrected score term, shape ``batch_shape``."""
        extra: _Extra = draw.extra
        site = extra.site
        eta = extra.eta.to(cost)
        path = _path(cost[1] - cost[2], site, create_graph=self.tune)
        relaxed = cost[2] if self.tune else cost[2].detach()
        rest = site.lift(cost[0].detach() - eta * relaxed)
        estimate = rest * site.score(extra.choice) + eta * path
        extra.estimate = estimate
        return site.term(estimate)

    def update(self, draw: Draw, cost: Tensor) -> None:
        """Step eta and temperature against the gradient of the squared estimate."""
        extra: _Extra = draw.extra
        if not self.tune or extra.estimate is None:
            return
        with without_corrections():
            (gradient,) = torch.autograd.grad(
                extra.estimate.square().sum(), extra.leaf, retain_graph=True
            )
        gradient, _ = draw.pool.total(gradient, 0, "the gradient of eta")
        self.tuned.step(gradient)
        extra.estimate = None


@dataclass
class _Extra:
    site: RelaxedSite
    choice: Tensor
    leaf: Tensor
    eta: Tensor
    estimate: Tensor | None = None


def _path(cost: Tensor, site: RelaxedSite, *, create_graph: bool) -> Tensor:
    """Gradient of a cost for a site's own logits, ``(*others, *own.shape)``.

    Rows of other sites share this site's draw, so they are differentiated one by one.
    """
    own = site.own
    others = cost.shape[: cost.dim() - site.batch]
    rows = cost.reshape(-1, *cost.shape[len(others) :])
    paths = []
    for row in rows:
        path = None
        if row.requires_grad:
            (path,) = torch.autograd.grad(
                row.sum(),
                own,
                retain_graph=True,
                create_graph=create_graph,
                allow_unused=True,
            )
        paths.append(torch.zeros_like(own) if path is None else path)
    return torch.stack(paths).reshape(*others, *own.shape)
