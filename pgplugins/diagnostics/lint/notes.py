"""What lint remembers of a tensor: where its value and its gradient come from.

Sets of draws, of log-densities and of parameters are bit masks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from weakref import ref

from torch import Tensor
from torch.distributions import Distribution

Bits = int
Parts = dict["Atom", float]
"""A value as a linear combination of atoms, up to what does not depend on draws."""

LARGEST = 48
"""Combinations of more atoms than these are not followed."""


class Atom:
    """A value that is not taken apart, such as a cost.

    An average or a sum says what it is the average of, so that a baseline can be asked
    whether it contains the cost from which it is subtracted.
    """

    __slots__ = (
        "count",
        "factor",
        "heard",
        "of",
        "params",
        "path",
        "product",
        "value",
        "values",
    )

    def __init__(
        self,
        value: Tensor,
        note: Note,
        of: Parts | None = None,
        factor: float = 1.0,
        count: int = 1,
    ) -> None:
        """Hold ``value``: ``factor`` times the mean of ``count`` elements of ``of``."""
        self.value = value.detach()
        self.values = note.values
        self.heard = note.heard
        self.params = note.params
        self.path = note.path
        self.of = of
        self.factor = factor
        self.count = count
        self.product: tuple[Bits, Parts] | None = None
        """For a cost times a log-density: the draws of it, and the cost."""


@dataclass(slots=True)
class Note:
    """One tensor's origins."""

    values: Bits = 0
    """Draws and log-densities that the value depends on, detached or not."""
    heard: Bits = 0
    """Draws that it may depend on through Python, as in ``torch.tensor(rewards)``."""
    direct: Bits = 0
    """Draws that it depends on other than through the law of a later draw."""
    params: Bits = 0
    """Leaves that the value depends on other than through a draw."""
    path: Bits = 0
    """Draws that its gradient runs through."""
    other: Bits = 0
    """Those of them that it reaches other than through their own log-density."""
    foreign: bool = False
    """Whether such a path leads through parameters or through another law's density."""
    scores: Bits = 0
    """Log-densities that it holds linearly, attached."""
    ratios: Bits = 0
    """Log-densities that it holds otherwise, attached."""
    noise: Bits = 0
    """Draws by torch's own functions that nothing attached has met yet."""
    stepped: Bits = 0
    """Draws whose gradient was lost in a step, such as a rounding."""
    scale: Bits = 0
    """Draws of a batch that it is a statistic of, such as a standard deviation."""
    scaled: Bits = 0
    """Draws of a batch whose statistic it was divided by."""
    sees: bool = False
    """Whether a cost had an average subtracted that contains it."""
    learned: Bits = 0
    """Parameters of a value that was subtracted from a cost."""
    knows: Bits = 0
    """Draws that this value depends on."""
    varies: bool = False
    """Whether it is the sum or mean of values that differ."""
    squashed: bool = False
    """Whether it is a polynomial of the hyperbolic tangent of a draw."""
    clamped: bool = False
    """Whether a clamp has changed elements."""
    attached: bool = False
    """Whether the tensor required grad when this was written."""
    epoch: int = 0
    parts: Parts | None = field(default=None, repr=False)

    def shows(self) -> bool:
        """Whether there is anything to remember."""
        return bool(self.values or self.heard or self.params or self.clamped)


@dataclass(frozen=True, eq=False, slots=True)
class Drawn:
    """One call of ``sample`` or ``rsample``, or of torch's own random numbers."""

    bit: Bits
    law: ref[Distribution] | None
    params: Bits


@dataclass(frozen=True, slots=True)
class Density:
    """One call of ``log_prob`` at a sample of the same law."""

    bit: Bits
    drawn: Bits
    """The draws that it is the log-density of."""
    attached: Bits
    """Those of them that the gradient runs through."""
