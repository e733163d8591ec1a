"""RELAX: the score function with a learned control variate on a relaxed choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.averages import PastAverage
from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.gumbel import softmax
from pgplugins.core.numbers import positive_integer
from pgplugins.core.relaxed import CoupledLatents, RelaxedSite, couple, relaxed_site
from pgplugins.core.tuning import Tuned


class Relax(Estimator):
    """``(f(b) - c(z~)) s + d[c(z) - c(z~)]`` with a network ``c`` learned on the way.

    As REBAR, with a network in place of the relaxed cost, so that any cost will do and
    one evaluation of it is enough (Grathwohl, Choi, Wu, Roeder and Duvenaud 2018, eq.
    8). The network looks at the softened choices of an event and at their
    probabilities, which tell batch elements apart. It follows the gradient of the
    squared estimate, always with weights from before the current draw.

    Args:
        hidden: Number of hidden units.

    Raises:
        InputError: ``hidden`` is not a positive integer.

    Example:
        The gradient of ``E[b^2] = p`` for the logit is ``p (1 - p)``, 0.21 at 0.3; the
        cost is asked at 0 and 1 only:

        >>> import torch, pgplugins as pg
        >>> logit = torch.tensor(0.3).logit().requires_grad_()
        >>> coin = torch.distributions.Bernoulli(logits=logit)
        >>> _ = torch.manual_seed(0)
        >>> square = lambda b: b**2
        >>> loss = pg.expectation(
        ...     square, coin, estimator="relax", num_samples=100_000
        ... )
        >>> loss.backward()
        >>> round(logit.grad.item(), 2)
        0.21
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
        self.past = PastAverage(horizon=100.0)  # of costs and of their squares

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
        if self.past.value is None:
            return site.term(site.lift(f) * score)
        leaf = self.network.leaf()
        free, given = self._guess(leaf, site, latents.both)
        (path,) = torch.autograd.grad((free - given).sum(), site.own, create_graph=True)
        estimate = site.lift(f - given) * score + path
        extra.leaf, extra.estimate = leaf, estimate
        return site.term(estimate)

    def update(self, draw: Draw, cost: Tensor) -> None:
        """Step the network against the gradient of the squared estimate."""
        extra: _Extra = draw.extra
        if extra.estimate is not None and extra.leaf is not None:
            (gradient,) = torch.autograd.grad(
                extra.estimate.square().mean(), extra.leaf
            )
            gradient = draw.pool.mean(
                gradient, extra.estimate.numel(), "the gradient of the network"
            )
            assert self.past.value is not None
            size = self.past.value[1].clamp_min(torch.finfo(gradient.dtype).tiny)
            self.network.step(gradient / size.to(gradient))
            extra.estimate = None
        f = cost.detach().double()
        means = torch.stack([f.mean(), f.square().mean()])
        means = draw.pool.mean(means, f.numel(), "the mean cost")
        self.past.update(means.unsqueeze(0))
        if not self.network.started:
            self._start(extra.site)

    def _start(self, site: RelaxedSite) -> None:
        """Size the network; it begins as zero, and the guess as the past mean."""
        inputs = 2 * site.own.shape[site.batch :].numel()
        # Fixed, so that the draws of a program do not depend on the estimator's size.
        generator = torch.Generator().manual_seed(0)
        first = torch.randn(inputs, self.hidden, generator=generator)
        rest = torch.zeros(2 * self.hidden + 1)
        self.network.start(torch.cat([first.flatten(), rest]).to(site.own))

    def _guess(self, leaf: Tensor, site: RelaxedSite, latents: Tensor) -> Tensor:
        """Return a guess of the cost for every batch element, ``(2, *batch_shape)``."""
        soft = softmax(latents)
        # Centred and small, so that a step cannot saturate all units at once.
        both = torch.cat([soft, site.mass.expand_as(soft)], -1) - 1 / soft.shape[-1]
        both = both.flatten(site.batch + 1)
        inputs, hidden = both.shape[-1], self.hidden
        both = both / inputs**0.5
        sizes = [inputs * hidden, hidden, hidden, 1]
        first, first_bias, second, second_bias = leaf.to(soft).split(sizes)
        inner = (both @ first.reshape(inputs, hidden) + first_bias).tanh()
        assert self.past.value is not None
        mean, square = self.past.value.to(soft)
        spread = (square - mean.square()).clamp_min(0).sqrt()
        guess: Tensor = mean + spread * (inner @ second + second_bias)
        return guess


@dataclass
class _Extra:
    site: RelaxedSite
    latents: CoupledLatents
    leaf: Tensor | None = None
    estimate: Tensor | None = None
