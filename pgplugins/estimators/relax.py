"""RELAX: the score function with a learned control variate on a relaxed choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.numbers import positive_integer
from pgplugins.core.relaxed import CoupledLatents, RelaxedSite, couple, relaxed_site
from pgplugins.core.tuning import Tuned


class Relax(Estimator):
    """``(f(b) - c(z~)) s + d[c(z) - c(z~)]`` with a network ``c`` learned on the way.

    As REBAR, with a network in place of the relaxed cost, so that any cost will do and
    one evaluation of it is enough (Grathwohl, Choi, Wu, Roeder and Duvenaud 2018, eq.
    8). The network looks at the softened choices of an event and follows the gradient
    of the squared estimate, always with weights from before the current draw.

    Args:
        hidden: Number of hidden units.

    Raises:
        InputError: ``hidden`` is not a positive integer.

    Example:
        >>> import torch
        >>> Relax().draw(torch.distributions.Bernoulli(torch.tensor(0.3))).rows
        1
    """

    name: ClassVar[str] = "relax"
    traits: ClassVar[Traits] = Traits(
        unbiased=True,
        needs=frozenset({"relaxation", "log_prob"}),
        own_score="drop",
    )

    def __init__(self, hidden: int = 16) -> None:
        """Set the size of the network."""
        super().__init__()
        positive_integer(hidden, "hidden")
        self.hidden = hidden
        self.network = Tuned(rate=0.01)
        self.scale: Tensor
        self.register_buffer("scale", torch.zeros((), dtype=torch.float64))

    def draw(self, dist: Distribution) -> Draw:
        """Draw one row, detached, with the latents that the network is shown."""
        site = relaxed_site(dist)
        latents = couple(site.own)
        return Draw.of_row(
            dist, site.point(latents.choice), extra=_Extra(site, latents)
        )

    def gradient_term(self, draw: Draw, cost: Tensor) -> Tensor:
        """Return the corrected score term, shape ``batch_shape``."""
        extra: _Extra = draw.extra
        site, latents = extra.site, extra.latents
        f = cost[0].detach()
        score = site.score(latents.choice)
        if float(self.scale) == 0:
            return site.term(site.lift(f) * score)
        if not self.network.started:
            self._start(site)
        leaf = self.network.leaf()
        guess = self.scale.to(site.own) * self._guess(leaf, site, latents.both)
        free, given = guess
        (path,) = torch.autograd.grad((free - given).sum(), site.own, create_graph=True)
        estimate = site.lift(f - given) * score + path
        extra.leaf, extra.estimate = leaf, estimate
        return site.term(estimate)

    def update(self, draw: Draw, cost: Tensor) -> None:
        """Step the network against the gradient of the squared estimate."""
        extra: _Extra = draw.extra
        f = cost.detach()
        size = f.square().mean().sqrt().double()
        if bool(size.isfinite()):
            old = self.scale
            self.scale = size if float(old) == 0 else old.lerp(size, 0.01)
        if extra.estimate is None or extra.leaf is None:
            return
        (gradient,) = torch.autograd.grad(
            extra.estimate.square().mean() / self.scale.to(extra.estimate).square(),
            extra.leaf,
        )
        self.network.step(gradient)
        extra.estimate = None

    def _start(self, site: RelaxedSite) -> None:
        """Size the network; it begins as zero, the estimate as a plain score term."""
        inputs = site.own.shape[site.batch :].numel()
        # Fixed, so that the draws of a program do not depend on the estimator's size.
        generator = torch.Generator().manual_seed(0)
        first = torch.randn(inputs, self.hidden, generator=generator) / inputs**0.5
        rest = torch.zeros(2 * self.hidden + 1)
        self.network.start(torch.cat([first.flatten(), rest]).to(site.own))

    def _guess(self, leaf: Tensor, site: RelaxedSite, latents: Tensor) -> Tensor:
        """Return a guess of the cost for every batch element, ``(2, *batch_shape)``."""
        soft = latents.softmax(-1).flatten(site.batch + 1)
        inputs, hidden = soft.shape[-1], self.hidden
        sizes = [inputs * hidden, hidden, hidden, 1]
        first, first_bias, second, second_bias = leaf.to(soft).split(sizes)
        inner = (soft @ first.reshape(inputs, hidden) + first_bias).tanh()
        guess: Tensor = inner @ second + second_bias
        return guess


@dataclass
class _Extra:
    site: RelaxedSite
    latents: CoupledLatents
    leaf: Tensor | None = None
    estimate: Tensor | None = None
