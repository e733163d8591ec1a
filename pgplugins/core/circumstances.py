"""What a program does with a draw, as far as it bears on how many rows it can take."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable


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

    Example:
        Two sites that choose meet in one cost with a site of 4 rows: of 256 rows 64 are
        left, and the two may have 8 each.

        >>> met = Circumstances(
        ...     joins_elements=False, in_python=False, shared_by=2, taken=4
        ... )
        >>> met.room(256)
        8.0
    """

    joins_elements: bool
    in_python: bool
    shared_by: int
    taken: int

    def room(self, budget: float) -> float:
        """Return how many rows the site may have, if ``budget`` is shared out evenly.

        Args:
            budget: The rows that one cost may have in all.
        """
        return float((budget / self.taken) ** (1 / self.shared_by))


@runtime_checkable
class ChoosesRows(Protocol):
    """An estimator whose rows are its own choice, and not to be blamed on the user."""

    def retreat(self) -> bool:
        """Draw one row from now on, and say whether the last draw had several.

        Called when a program has failed; without effect where the draw had one row.
        """

    def advance(self) -> None:
        """Take a retreat back: the program fails with one row as well."""
