"""Sum and sample: the likely points exactly, one of the others at random."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.algebra import score_term
from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.numbers import positive_integer
from pgplugins.core.points import points_of, too_large
from pgplugins.errors import InputError


class SumAndSample(Estimator):
    """``sum_C p_k f(k) + (1 - P_C) f(u)``: C the likeliest points, u one of the others.

    Summing over the likely points removes their variance; the draw from the others
    keeps it unbiased (Liu, Regier, Tripuraneni, Jordan and McAuliffe 2019,
    "Rao-Blackwellized stochastic gradients for discrete distributions").

    Args:
        size: Number of rows: ``size - 1`` points are summed over.

    Raises:
        InputError: ``size`` is not an integer of at least 2.

    Example:
        >>> import torch
        >>> d = torch.distributions.Categorical(probs=torch.tensor([0.7, 0.2, 0.1]))
        >>> draw = SumAndSample(size=2).draw(d)
        >>> draw.value[0], draw.weight
        (tensor(0), tensor([0.7000, 0.3000]))
    """

    name: ClassVar[str] = "sum_and_sample"
    traits: ClassVar[Traits] = Traits(
        unbiased=True,
        needs=frozenset({"enumerate_support"}),
        independent_rows=False,
        order="any",
        cost_evaluations="size",
    )

    def __init__(self, size: int = 2) -> None:
        """Set the number of rows."""
        super().__init__()
        positive_integer(size, "size")
        if size < 2:
            raise InputError(
                f"sum_and_sample(size={size!r}): write 2 or more, one point to sum "
                'over and one to sample, or estimator="score_function".'
            )
        self.size = size

    def refusal(self, dist: Distribution) -> str | None:
        """Refuse supports that are too large to look for their likeliest points."""
        return too_large(dist)

    def draw(self, dist: Distribution) -> Draw:
        """Return the likeliest points and a draw from the others, with weights."""
        points = points_of(dist)
        points = points.expand(-1, *dist.batch_shape, *dist.event_shape)
        log_probs = dist.log_prob(points)
        if self.size >= points.shape[0]:
            return Draw(dist=dist, value=points, weight=log_probs.exp())
        held = log_probs.detach()
        likely = held.topk(self.size - 1, dim=0).indices
        others = held.scatter(0, likely, -torch.inf)
        # Others without any mass still need a row, which then counts for nothing.
        empty = others.logsumexp(0, keepdim=True) == -torch.inf
        others = torch.where(
            empty, torch.zeros_like(held).scatter(0, likely, -torch.inf), others
        )
        gumbel = -torch.empty_like(held).exponential_().log()
        one = (others + gumbel).argmax(0, keepdim=True)
        rows = torch.cat([likely, one])
        exact = log_probs.gather(0, likely).exp()
        rest = (1 - exact.sum(0, keepdim=True)).clamp_min(0)
        log_rest = rest.clamp_min(torch.finfo(rest.dtype).tiny).log()
        index = rows.reshape(*rows.shape, *(1,) * len(dist.event_shape))
        value = points.gather(0, index.expand(*rows.shape, *dist.event_shape))
        return Draw(
            dist=dist,
            value=value,
            weight=torch.cat([exact, rest]),
            extra=(rest, log_probs.gather(0, one).masked_fill(empty, 0.0) - log_rest),
        )

    def gradient_term(self, draw: Draw, cost: Tensor) -> Tensor | None:
        """Return the score term of the sampled row among the others."""
        if draw.extra is None:
            return None
        rest, log_prob = draw.extra
        return score_term(rest[0] * cost[-1], log_prob[0])
