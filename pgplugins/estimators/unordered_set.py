"""Unordered sets: draws without replacement, with a baseline among themselves."""

from __future__ import annotations

from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.algebra import zero_valued
from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator, Traits
from pgplugins.core.numbers import positive_integer
from pgplugins.core.points import points_of, too_large
from pgplugins.errors import InputError

MAX_SIZE = 10
_LEAST = 1e-30  # so small, and yet a product of MAX_SIZE is a number


class UnorderedSet(Estimator):
    """``sum_s p(s) R(S, s) f(s)`` over a set S drawn without replacement.

    Every point is weighed by its probability of having been the first of the set,
    whatever the order (Kool, van Hoof and Welling 2020, eq. 7), and its cost is
    compared with what the others say of it (eq. 17). The set's probabilities take
    ``2^size`` steps.

    Args:
        size: Number of points in the set, 2 to 10.

    Raises:
        InputError: ``size`` is not in that range.

    Example:
        >>> import torch
        >>> d = torch.distributions.Categorical(probs=torch.tensor([0.7, 0.2, 0.1]))
        >>> UnorderedSet(size=3).draw(d).weight.sum().round(decimals=4)
        tensor(1.)
    """

    name: ClassVar[str] = "unordered_set"
    traits: ClassVar[Traits] = Traits(
        unbiased=True,
        needs=frozenset({"enumerate_support"}),
        independent_rows=False,
        cost_evaluations="size",
    )

    def __init__(self, size: int = 2) -> None:
        """Set the size of the set."""
        super().__init__()
        positive_integer(size, "size")
        if not 2 <= size <= MAX_SIZE:
            raise InputError(
                f"unordered_set(size={size!r}): write 2 to {MAX_SIZE}; a set of one is "
                'estimator="score_function".'
            )
        self.size = size

    def refusal(self, dist: Distribution) -> str | None:
        """Refuse supports that are too large to draw without replacement from."""
        return too_large(dist)

    def draw(self, dist: Distribution) -> Draw:
        """Return the points of the set, weighed by who was first."""
        points = points_of(dist)
        points = points.expand(-1, *dist.batch_shape, *dist.event_shape)
        log_probs = dist.log_prob(points)
        held = log_probs.detach()
        gumbel = -torch.empty_like(held).exponential_().log()
        size = min(self.size, points.shape[0])
        rows = (held + gumbel).topk(size, dim=0).indices
        index = rows.reshape(*rows.shape, *(1,) * len(dist.event_shape))
        value = points.gather(0, index.expand(*rows.shape, *dist.event_shape))
        probs = log_probs.gather(0, rows).exp()
        rest = held.exp().scatter(0, rows, 0.0).sum(0)
        # Points without any mass are drawn last, if the set has room for them.
        mass = probs.detach().double().clamp_min(_LEAST)
        ratio, others = _leave_out(mass, rest.double())
        ratio, others = ratio.to(held), others.to(held)
        return Draw(
            dist=dist,
            value=value,
            weight=probs.detach() * ratio,
            extra=(probs, ratio, others),
        )

    def gradient_term(self, draw: Draw, cost: Tensor) -> Tensor:
        """Return the score terms less what the other points expect."""
        probs, ratio, others = draw.extra
        held = cost.detach()
        between = held.dim() - probs.dim()
        shape = (probs.shape[0], *(1,) * between, *probs.shape[1:])
        # others[s, t]: what t says of s, given that s is in the set.
        joint = others.reshape(probs.shape[0], *shape)
        guess = (joint * held).sum(1)
        factor = ratio.reshape(shape) * (held - guess)
        term: Tensor = (factor * zero_valued(probs.reshape(shape))).sum(0)
        return term


def _leave_out(probs: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Leave-one-out ratios of a set's probability, of first and of second order.

    Args:
        probs: Probabilities of the set's points, shape ``(size, *batch)``.
        rest: Probability of all other points, shape ``batch``.

    Returns:
        ``R(S, s)``, shape ``(size, *batch)``, and ``p(t) R^{D - s}(S, t)``, shape
        ``(size, size, *batch)`` with ``s`` first.
    """
    size = probs.shape[0]
    members = range(size)
    whole = _set_probability(probs, rest, tuple(members))
    without = [
        _set_probability(probs, rest, tuple(t for t in members if t != s))
        for s in members
    ]
    ratio = torch.stack([w / whole for w in without])
    table = [[probs[s] for s in members] for _ in members]
    for s, t in combinations(members, 2):
        pair = _set_probability(
            probs, rest, tuple(u for u in members if u not in (s, t))
        )
        table[s][t] = probs[t] * pair / without[s]
        table[t][s] = probs[s] * pair / without[t]
    for s in members:
        table[s][s] = probs[s]
    return ratio, torch.stack([torch.stack(row) for row in table])


def _set_probability(probs: Tensor, rest: Tensor, members: tuple[int, ...]) -> Tensor:
    """Probability that draws without replacement from members and rest give members.

    Every summand is positive, so nothing cancels; ``members`` are ordered out by
    dynamic programming over subsets.
    """
    count = len(members)
    mass = [probs[i] for i in members]
    reached: list[Tensor] = [torch.ones_like(rest)]
    tiny = torch.finfo(rest.dtype).tiny
    for subset in range(1, 1 << count):
        inside = [i for i in range(count) if subset >> i & 1]
        ways = torch.zeros_like(rest)
        for i in inside:
            before = subset & ~(1 << i)
            # What is left: rest and the members that are not drawn yet.
            left = rest + sum(
                (mass[j] for j in range(count) if not before >> j & 1),
                torch.zeros_like(rest),
            )
            ways = ways + reached[before] * mass[i] / left.clamp_min(tiny)
        reached.append(ways)
    return reached[-1]
