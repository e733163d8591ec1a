"""What a program does with a draw, as far as it bears on how many rows it can take."""

from __future__ import annotations

from typing import NamedTuple


class Circumstances(NamedTuple):
    """What the fold tells a draw whose estimator chooses its rows.

    Args:
        joins_elements: A cost downstream joins several of the site's batch elements, so
            that rows that are weighted element by element cannot be averaged there.
        in_python: The value may have turned into a Python value, which can follow one
            row only.
        shared_by: How many sites that choose their rows, this one included, meet in one
            cost at most: their rows multiply.
        taken: The rows that all other sites have in one cost at most.
    """

    joins_elements: bool
    in_python: bool
    shared_by: int
    taken: int

    def room(self, budget: float) -> float:
        """How many rows the site may have, if ``budget`` are shared out evenly.

        Example:
            >>> Circumstances(False, False, shared_by=2, taken=1).room(256)
            16.0
        """
        return float((budget / self.taken) ** (1 / self.shared_by))
