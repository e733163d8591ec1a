"""What one run of a program has tracked, and what of it has escaped."""

from __future__ import annotations

from pgplugins.errors import ProgramError

Sources = int
"""A set of sites as a bit mask: bit ``i`` stands for the ``i``-th tracked site."""


class Tracker:
    """One run's record of its tracked sites and of the sources that escaped.

    Example:
        >>> tracker = Tracker()
        >>> a, b = tracker.source("a"), tracker.source("b")
        >>> tracker.escape(b)
        >>> tracker.names_of(tracker.escaped)
        ['b']
    """

    def __init__(self) -> None:
        """Start with no sites."""
        self.names: list[str] = []
        self.everything: Sources = 0
        """All sites so far."""
        self.escaped: Sources = 0
        self.calls = 0
        """Number of torch calls that tracked values have gone through."""
        self.declared: Sources | None = None
        """What code that runs untracked is known to use, while it runs."""
        self.live = True
        self._many_rows: Sources = 0

    def source(self, name: str, *, many_rows: bool = False) -> Sources:
        """Add a site; returns the set that holds it alone."""
        bit = 1 << len(self.names)
        self.names.append(name)
        self.everything |= bit
        if many_rows:
            self._many_rows |= bit
        return bit

    def names_of(self, sources: Sources) -> list[str]:
        """Names of the sites in a set, in the order in which they were drawn."""
        return [name for i, name in enumerate(self.names) if sources >> i & 1]

    def escape(self, sources: Sources, *, hidden_in: str = "") -> None:
        """Make everything that runs from now on downstream of ``sources``.

        Args:
            sources: What escapes.
            hidden_in: The call that hides values from tensor subclasses, if one does.

        Raises:
            ProgramError: A source has several rows, so that Python cannot follow them
                all at once.
        """
        many = sources & self._many_rows
        if many:
            names = ", ".join(repr(n) for n in self.names_of(many))
            if hidden_in:
                raise ProgramError(
                    f"The program passes a value that depends on site {names} to "
                    f"{hidden_in}, where what becomes of it cannot be followed, and "
                    "the estimator of that site draws several rows at once. Write "
                    "ordinary tensor operations instead (torch.where, gather), or give "
                    "the site an estimator with one row, such as "
                    '"score_function".'
                )
            raise ProgramError(
                f"The program turns a value that depends on site {names} into a Python "
                "value (if, float(), .item(), indexing by value), but the estimator of "
                "that site draws several rows at once and Python can follow only one. "
                "Write torch.where(...) instead of the branch, or give the site an "
                'estimator with one row, such as "score_function".'
            )
        self.escaped |= sources

    def shown(self, sources: Sources) -> None:
        """Note that a value was written out: the text may become a name or a key.

        A text shows all rows at once, so nobody chooses between them.
        """
        self.escaped |= sources & ~self._many_rows

    def refuse_many(self, sources: Sources) -> None:
        """Raise for a value of several elements that is asked to be one.

        Raises:
            ProgramError: Naming the sites that the value depends on.
        """
        self.escape(sources)  # several rows have a reason of their own
        names = ", ".join(repr(n) for n in self.names_of(sources))
        raise ProgramError(
            f"The program turns a value that depends on site {names} into one Python "
            "value (if, float(), .item()), but it holds several particles or plate "
            "elements. Write torch.where(...) instead of the branch, "
            "vectorize_particles=False, or a sequential plate."
        )

    def close(self) -> None:
        """End the run: values that outlive it are plain from now on."""
        self.live = False
