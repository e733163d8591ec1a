"""Exact moments of an estimate: every path that scripted draws can take is run.

A scripted law draws what a script says, and as usual when there is none. Running a
function once for every script, weighted by the probability of its draws, gives the
mean of whatever it returns without sampling error: for coins and dice always, for
Normals as far as the function is a polynomial in their draws (Gauss and Hermite).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Final, NamedTuple

import pyro.distributions as dist
import torch
from numpy.polynomial.hermite_e import hermegauss
from torch import Tensor

from pgplugins.core.provenance import plain

NODES: Final = 4
"""Nodes per standard Normal draw: polynomials up to degree seven are exact."""


@cache
def normal_rule(nodes: int) -> tuple[list[float], list[float]]:
    """Return nodes and masses that integrate against the standard Normal."""
    points, weights = hermegauss(nodes)
    return points.tolist(), (weights / weights.sum()).tolist()


class Script:
    """The choices on one path: those that were decided, then always the first."""

    def __init__(self, decided: list[int], nodes: int = NODES) -> None:
        """Start a path."""
        self._decided = decided
        self.nodes = nodes
        self.choices: list[tuple[int, int]] = []
        self.probability = 1.0

    def choose(self, masses: list[float]) -> int:
        """Return the next choice."""
        position = len(self.choices)
        chosen = self._decided[position] if position < len(self._decided) else 0
        self.choices.append((chosen, len(masses)))
        self.probability *= masses[chosen]
        return chosen

    @property
    def paths(self) -> int:
        """How many paths there are, if all are as long as this one."""
        return math.prod(size for _, size in self.choices)

    def following(self) -> list[int] | None:
        """Return the decisions of the next path, or ``None`` after the last."""
        path = list(self.choices)
        while path and path[-1][0] == path[-1][1] - 1:
            path.pop()
        if not path:
            return None
        return [c for c, _ in path[:-1]] + [path[-1][0] + 1]


_ONE: Final = torch.Size()
_current: ContextVar[Script | None] = ContextVar("script", default=None)


@contextmanager
def _playing(script: Script) -> Iterator[None]:
    token = _current.set(script)
    try:
        yield
    finally:
        _current.reset(token)


class Coin(dist.Bernoulli):  # type: ignore[misc]  # Pyro says no types
    """A Bernoulli that draws what the script says."""

    def sample(self, sample_shape: Any = _ONE) -> Tensor:
        """Draw, by the script if there is one."""
        script = _current.get()
        if script is None:
            drawn: Tensor = super().sample(sample_shape)
            return drawn
        shape = self._extended_shape(torch.Size(sample_shape))
        probs = plain(self.probs.detach()).expand(shape)
        bits = [script.choose([1 - p, p]) for p in probs.reshape(-1).tolist()]
        return probs.new_tensor(bits).reshape(shape)


class Die(dist.Categorical):
    """A Categorical that draws what the script says."""

    def sample(self, sample_shape: Any = _ONE) -> Tensor:
        """Draw, by the script if there is one."""
        script = _current.get()
        if script is None:
            plainly: Any = super()  # torch does not say the type
            drawn: Tensor = plainly.sample(sample_shape)
            return drawn
        shape = self._extended_shape(torch.Size(sample_shape))
        probs = plain(self.probs.detach())
        rows = probs.expand(*shape, probs.shape[-1]).reshape(-1, probs.shape[-1])
        faces = [script.choose(masses) for masses in rows.tolist()]
        return torch.tensor(faces, device=probs.device).reshape(shape)


class Bell(dist.Normal):
    """A Normal whose standard draws are the script's nodes."""

    def rsample(self, sample_shape: Any = _ONE) -> Tensor:
        """Draw, by the script if there is one."""
        script = _current.get()
        if script is None:
            return super().rsample(sample_shape)
        shape = self._extended_shape(torch.Size(sample_shape))
        points, masses = normal_rule(script.nodes)
        nodes = [points[script.choose(masses)] for _ in range(shape.numel())]
        return self.loc + self.scale * plain(self.loc).new_tensor(nodes).reshape(shape)

    def sample(self, sample_shape: Any = _ONE) -> Tensor:
        """Draw, by the script if there is one."""
        with torch.no_grad():
            return self.rsample(sample_shape)


class Mean(NamedTuple):
    """The mean over every path of scripted draws.

    Args:
        value: The mean.
        told: Nothing was drawn from torch's generator besides: the paths are all that
            can happen. Else it is the mean given one state of the generator.
    """

    value: Tensor
    told: bool


def exact_mean(
    run: Callable[[], Tensor], limit: int = 100, nodes: int = NODES
) -> Mean | None:
    """Return the mean of what ``run`` returns over every path of its scripted draws.

    Args:
        run: Starts from the same state every time.
        limit: The largest number of paths.
        nodes: Per standard Normal draw.

    Returns:
        The mean, or ``None`` if there are more paths.

    Example:
        >>> exact_mean(lambda: Coin(torch.tensor(0.25)).sample()).value
        tensor(0.2500, dtype=torch.float64)
    """
    total: Tensor | None = None
    told = True
    decided: list[int] | None = []
    before = torch.get_rng_state()
    while decided is not None:
        script = Script(decided, nodes)
        torch.set_rng_state(before)
        with _playing(script):
            result = run()
        if script.paths > limit:
            return None
        told = told and torch.equal(before, torch.get_rng_state())
        part = script.probability * result.detach().double()
        total = part if total is None else total + part
        decided = script.following()
    assert total is not None
    return Mean(total, told)
