"""Streaming statistics of the parts of a gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from pgplugins.diagnostics.explain_layout import Layout
from pgplugins.diagnostics.explain_parts import Parts, take_apart
from pgplugins.diagnostics.explain_squash import JumpTest
from pgplugins.diagnostics.statistics import BiasTest, GradientStatistics, bias_test
from pgplugins.errors import NotFiniteError
from pgplugins.infer.run import Run


class _Joined(NamedTuple):
    """The parts of one site as vectors."""

    score: Tensor | None
    pathwise: Tensor | None
    explicit: Tensor

    def plus(self, other: _Joined) -> _Joined:
        return _Joined(
            _sum(self.score, other.score),
            _sum(self.pathwise, other.pathwise),
            self.explicit + other.explicit,
        )


class Disagreement(NamedTuple):
    """How far a site's score and pathwise part are apart on the same draws.

    Args:
        test: Of their difference.
        bounded: Whether it is that of a bounded cost, which heavy tails cannot deceive.
    """

    test: BiasTest
    bounded: bool


class SiteTally:
    """The statistics of one site's parts; ``None`` for what it does not have.

    Args:
        layout: Of the parameters.
        size: Independent draws in one call.
    """

    def __init__(self, layout: Layout, size: int) -> None:
        """Start without a call."""
        self.jump = JumpTest(layout, size)
        self.score: GradientStatistics | None = layout.statistics()
        self.pathwise: GradientStatistics | None = layout.statistics()
        self.explicit = layout.statistics()
        self._difference: GradientStatistics | None = layout.statistics()

    def add(self, parts: _Joined) -> None:
        """Count a call; a part that is missing once is not there at all."""
        self.score = _added(self.score, parts.score)
        self.pathwise = _added(self.pathwise, parts.pathwise)
        self.explicit.add(parts.explicit)
        difference = None
        if parts.score is not None and parts.pathwise is not None:
            difference = parts.score - parts.pathwise
        self._difference = _added(self._difference, difference)

    def disagreement(self) -> Disagreement | None:
        """Test score against pathwise on the same draws; ``None`` if one is missing."""
        if self._difference is None:
            return None
        bounded = self.jump.result()
        if bounded is not None:
            return Disagreement(bounded, bounded=True)
        exact = torch.zeros_like(self._difference.mean)
        plain = bias_test(self._difference, exact, exact, heavy_tails=True)
        return Disagreement(plain, bounded=False)


class Tally:
    """The statistics of all sites' parts.

    Args:
        layout: Of the parameters.
        size: Independent draws in one call.
    """

    def __init__(self, layout: Layout, size: int) -> None:
        """Start without a call."""
        self.sites: dict[str, SiteTally] = {}
        self.reached: dict[str, set[str]] = {}
        self.explicit = layout.statistics()
        self._layout = layout
        self._size = size

    def add(self, runs: Iterable[Run]) -> None:
        """Take one call apart and count it.

        Raises:
            NotFiniteError: A part is not finite.
        """
        call: dict[str, _Joined] = {}
        total = self._layout.zeros()
        for run in runs:
            found, explicit = take_apart(run, self._layout.tensors)
            total = total + self._layout.join(explicit) / self._size
            for name, parts in found.items():
                self._note_reached(name, parts)
                joined = self._join(name, parts)
                call[name] = call[name].plus(joined) if name in call else joined
            for drawn in run.sites:
                self._site(drawn.name).jump.add_run(drawn, run)
        zeros = self._layout.zeros()
        for name, site in self.sites.items():
            # A site that a call has not met contributed nothing to it.
            site.add(call.get(name, _Joined(zeros, zeros, zeros)))
            site.jump.end_call()
        self.explicit.add(total)

    def _site(self, name: str) -> SiteTally:
        """Return a site's tally; the calls before it was met count as zeros."""
        if name not in self.sites:
            site = self.sites[name] = SiteTally(self._layout, self._size)
            zeros = self._layout.zeros()
            for _ in range(self.explicit.runs):
                site.add(_Joined(zeros, zeros, zeros))
        return self.sites[name]

    def _note_reached(self, name: str, parts: Parts) -> None:
        reached = self.reached.setdefault(name, set())
        for gradients in (parts.score, parts.pathwise):
            given = zip(self._layout.parameters, gradients or (), strict=False)
            reached.update(parameter for parameter, g in given if g is not None)

    def _join(self, name: str, parts: Parts) -> _Joined:
        vectors = [
            None if part is None else self._layout.join(part) / self._size
            for part in parts
        ]
        for kind, vector in zip(parts._fields, vectors, strict=True):
            if vector is not None and not vector.isfinite().all():
                raise NotFiniteError(
                    f"explain: the {kind} part at site {name!r} is not finite; check "
                    "the cost and the distribution at the parameters' present values."
                )
        score, pathwise, explicit = vectors
        assert explicit is not None
        return _Joined(score, pathwise, explicit)


def _added(
    stats: GradientStatistics | None, gradient: Tensor | None
) -> GradientStatistics | None:
    if stats is None or gradient is None:
        return None
    stats.add(gradient)
    return stats


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return None if one is None or other is None else one + other
