"""Running an estimator again and again: gradients for the statistics, and the clock."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor

from pgplugins.diagnostics.intervals import Measured, efficiency, median_time
from pgplugins.diagnostics.memory import peak_memory
from pgplugins.diagnostics.objective import InUse
from pgplugins.diagnostics.statistics import GradientStatistics
from pgplugins.errors import NotFiniteError

BLOCKS = 20
"""Blocks that the timed runs are split into, alternating between the estimators."""


class Contestant:
    """One way to estimate, in a comparison: it is run, timed, and keeps statistics.

    Args:
        label: What the comparison calls it.
        in_use: The differentiable loss of one call, and the estimators of its sites.
        parameters: What the gradient is taken for.
    """

    def __init__(
        self, label: str, in_use: InUse, parameters: Mapping[str, Tensor]
    ) -> None:
        """Start without a run."""
        self.label = label
        self.parameters = dict(parameters)
        self.reached: set[str] = set()
        self._in_use = in_use
        self._cuda = any(p.is_cuda for p in self.parameters.values())
        self._block_medians: list[float] = []
        self.cut = False
        """Whether the program cuts a path (``pg.rl.truncate``) under them."""
        self.stats = self.new_statistics()

    def warm_up(self, runs: int) -> None:
        """Let state settle and allocators fill; nothing is counted.

        Raises:
            NotFiniteError: The loss or the gradient is not finite.
        """
        for _ in range(runs):
            self._run()

    def measure(self, runs: int) -> None:
        """Count one block of runs and time each.

        An estimator with state stays unbiased given its past, so its runs, though not
        independent, are martingale differences about the gradient and the variance of
        their mean is the usual one.

        Raises:
            NotFiniteError: The loss or the gradient is not finite.
        """
        seconds = []
        for _ in range(runs):
            gradient, elapsed = self._run()
            self.stats.add(gradient)
            seconds.append(elapsed)
        self._block_medians.append(median(seconds))

    def new_statistics(self) -> GradientStatistics:
        """Statistics that have seen no run."""
        return GradientStatistics(*(p.numel() for p in self.parameters.values()))

    def add_run(self, stats: GradientStatistics) -> None:
        """Count one more run elsewhere, apart from those measured here.

        Raises:
            NotFiniteError: The loss or the gradient is not finite.
        """
        stats.add(self._run()[0])

    def memory(self) -> int:
        """Run once more and count bytes, as :func:`~.memory.peak_memory` says."""
        return peak_memory(self._differentiate)

    @property
    def unbiased(self) -> bool:
        """Whether the traits of all estimators promise so, and no path is cut."""
        met = self._in_use.estimators().values()
        return not self.cut and all(e.traits.unbiased for e in met)

    @property
    def assumes_smooth_cost(self) -> bool:
        """Whether that promise is for differentiable costs only."""
        return any(
            "differentiable_cost" in e.traits.needs
            for e in self._in_use.estimators().values()
        )

    @property
    def variance(self) -> Measured:
        """Total variance of the gradient estimate of one call."""
        return Measured(self.stats.variance, self.stats.variance_interval())

    @property
    def seconds(self) -> Measured:
        """Seconds of one call, forward and backward."""
        return median_time(self._block_medians)

    @property
    def efficiency(self) -> Measured:
        """``1 / (variance * seconds)``."""
        return efficiency(self.variance, self.seconds)

    def _run(self) -> tuple[Tensor, float]:
        start = self._now()
        loss, gradients = self._differentiate()
        elapsed = self._now() - start
        self._check(loss, gradients)
        return self._flatten(gradients), elapsed

    def _differentiate(self) -> tuple[Tensor, Sequence[Tensor | None]]:
        loss = self._in_use.loss().sum()
        if not loss.requires_grad:
            return loss, [None] * len(self.parameters)
        # The graph is kept because parts of it may belong to the caller (a
        # distribution that was built outside); the rest goes with the loss.
        return loss, torch.autograd.grad(
            loss,
            list(self.parameters.values()),
            retain_graph=True,
            allow_unused=True,
        )

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def _check(self, loss: Tensor, gradients: Sequence[Tensor | None]) -> None:
        if not loss.isfinite():
            raise NotFiniteError(
                f"compare: with {self.label!r} the objective's value is {loss.item()}; "
                "it must be finite at the parameters' present values."
            )
        for name, gradient in zip(self.parameters, gradients, strict=True):
            if gradient is None:
                continue
            self.reached.add(name)
            if not gradient.isfinite().all():
                raise NotFiniteError(
                    f"compare: with {self.label!r} the gradient for {name!r} is not "
                    "finite; check the cost and the distribution at the parameters' "
                    "present values."
                )

    def _flatten(self, gradients: Sequence[Tensor | None]) -> Tensor:
        return flatten(
            torch.zeros_like(p) if g is None else g
            for p, g in zip(self.parameters.values(), gradients, strict=True)
        )


def flatten(tensors: Iterable[Tensor]) -> Tensor:
    """Lay tensors end to end on the CPU."""
    return torch.cat([t.detach().reshape(-1).cpu() for t in tensors])


def race(contestants: Sequence[Contestant], runs: int) -> Iterator[None]:
    """Measure all contestants in alternating blocks, so that drift hits all alike.

    The order turns round from block to block.

    Args:
        contestants: Warmed up.
        runs: How many runs each gets, at least :data:`BLOCKS`.

    Yields:
        After each block of each contestant.
    """
    edges = [round(i * runs / BLOCKS) for i in range(BLOCKS + 1)]
    order = list(contestants)
    for start, end in pairwise(edges):
        for contestant in order:
            contestant.measure(end - start)
            yield
        order.reverse()
