"""REBAR: the score function with a relaxed cost as its control variate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.numbers import positive
from pgplugins.core.relaxed import CoupledLatents, RelaxedSite, couple, relaxed_site
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
        self.tuned.start(
            {
                "eta": torch.tensor(1.0, dtype=torch.float64),
                "log_temperature": torch.tensor(temperature).double().log(),
            }
        )

    def draw(self, dist: Distribution) -> Draw:
        """Return the choice and, with weight zero, two softened points near it."""
        site = relaxed_site(dist)
        latents = couple(site.own)
        leaves = self.tuned.leaves()
        temperature = leaves["log_temperature"].to(site.own).exp()
        rows = [
            site.value(latents.choice),
            site.value((latents.free / temperature).softmax(-1)),
            site.value((latents.given / temperature).softmax(-1)),
        ]
        weight = torch.tensor([1.0, 0.0, 0.0]).to(site.own)
        return Draw(
            dist=dist,
            value=torch.stack(rows),
            weight=weight.reshape(3, *(1,) * site.batch),
            extra=_Extra(site, latents, leaves),
            off_support=True,
        )

    def gradient_term(self, draw: Draw, cost: Tensor) -> Tensor:
        """Return the corrected score term, shape ``batch_shape``."""
        extra: _Extra = draw.extra
        site, eta = extra.site, extra.leaves["eta"].to(cost)
        score = site.score(extra.latents.choice)
        path = _path(cost[1] - cost[2], site, create_graph=self.tune)
        relaxed = cost[2] if self.tune else cost[2].detach()
        estimate = site.lift(cost[0].detach() - eta * relaxed) * score + eta * path
        extra.estimate = estimate
        return site.term(estimate)

    def update(self, draw: Draw, cost: Tensor) -> None:
        """Step eta and temperature against the gradient of the squared estimate."""
        extra: _Extra = draw.extra
        if not self.tune or extra.estimate is None:
            return
        names = list(extra.leaves)
        gradients = torch.autograd.grad(
            extra.estimate.square().sum(),
            [extra.leaves[n] for n in names],
            retain_graph=True,
            allow_unused=True,
        )
        self.tuned.step(
            {
                name: torch.zeros_like(extra.leaves[name]) if found is None else found
                for name, found in zip(names, gradients, strict=True)
            }
        )
        extra.estimate = None


@dataclass
class _Extra:
    site: RelaxedSite
    latents: CoupledLatents
    leaves: dict[str, Tensor]
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
