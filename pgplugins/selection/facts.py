"""What past calls have shown of a site's place in its program."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator
from pgplugins.selection.suited import rows_of, weighs_elements

BUDGET = 256
"""Rows that meet in one cost, at most."""


class Facts(nn.Module):
    """Whether the program can take several rows of a site, and how many.

    What has been seen once stays true: a program may branch.
    """

    no_density: Tensor
    looked: Tensor
    known: Tensor
    joins_elements: Tensor
    in_python: Tensor
    joins_particles: Tensor
    failed: Tensor
    room: Tensor
    shared_by: Tensor

    def __init__(self) -> None:
        """Know nothing."""
        super().__init__()
        for name in (
            "no_density",
            "looked",
            "known",
            "joins_elements",
            "in_python",
            "joins_particles",
            "failed",
        ):
            self.register_buffer(name, torch.tensor(False))
        self.register_buffer("room", torch.tensor(float(BUDGET), dtype=torch.float64))
        self.register_buffer("shared_by", torch.tensor(1))
        self._seen: object = None  # the last time, so that it need not be taken in

    def meet(self, draw: Draw) -> bool:
        """Take in what was met by a draw that the objective is done with.

        Returns:
            Whether it is anything else than the last time.
        """
        met = draw.met
        seen = (met, draw.credit is not None)
        if seen == self._seen:
            return False
        self._seen = seen
        self.looked.fill_(True)
        if draw.credit is not None:
            self.joins_particles.fill_(True)
        if met is None:
            return True
        self.known.fill_(True)
        self.joins_elements |= met.joins_elements
        self.in_python |= met.in_python
        self.room.fill_(met.room(BUDGET))
        self.shared_by.fill_(met.shared_by)
        return True

    def against(self, candidate: Estimator, dist: Distribution) -> str | None:
        """Say why the program cannot take a candidate's rows; ``None`` if it can."""
        if not candidate.traits.many_rows:
            return None
        if not self.looked:
            return "the first call draws one row, to see what the program does with it"
        if self.joins_particles:
            return "the bound joins particles, which are one row each"
        if not self.known:
            return (
                "nobody has seen what the program does with the draw, so that one row "
                'is all that is safe (dependencies="provenance" looks)'
            )
        if self.failed:
            return "the program failed with several rows"
        if self.in_python:
            return (
                "the program turns the value into a Python value, which can follow one "
                "row only"
            )
        if self.joins_elements and weighs_elements(candidate):
            return (
                "a cost joins several of its elements, so that their combinations "
                "would be needed"
            )
        rows = rows_of(candidate, dist)
        if rows > float(self.room):
            shared = int(self.shared_by) - 1
            with_others = f" times those of {shared} other sites" if shared else ""
            return f"its {rows} rows{with_others} are more than {BUDGET} in one cost"
        return None
