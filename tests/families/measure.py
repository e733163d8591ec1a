"""Gradients of an expected cost, drawn until an error of 10% would be seen.

An estimator holds if no coordinate of its mean gradient lies farther from the exact one
than chance allows: over all coordinates of the catalogue a right library fails with a
probability below ``FALSE_FAILURES``. It is drawn until a tenth of every parameter's
largest coordinate would be missed with a chance of 3e-5. How long that takes depends on
the spread of the draws, not on where their mean lies, so stopping there is fair.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

import pgplugins as pg
from tests.families.family import Family

ESTIMATORS = ("score_function", "reparameterized", "hybrid")
FALSE_FAILURES = 1e-4
COMPARISONS = 2000  # coordinates in the catalogue, by three estimators: fewer than this
DETECTED = 4.0  # standard errors to spare
FIRST, MOST = 48, 1536  # calls
# What quadrature may be off by, of the largest coordinate of a gradient.
TOLERANCE = 2e-3


@dataclass(frozen=True)
class Measured:
    """What was found of one estimator: a refusal, or how far it is from the truth.

    Args:
        refusal: Why the library refused, or ``None``.
        distance: The largest distance from the truth, as a part of what is allowed.
        precision: The largest relative error that would go unseen.
        tenth_off: The distance from nine tenths of the truth, of the parameter for
            which it is least.
        calls: How many gradients were drawn.
    """

    refusal: str | None = None
    distance: float = math.nan
    precision: float = math.nan
    tenth_off: float = math.nan
    calls: int = 0

    @property
    def holds(self) -> bool:
        """Whether the mean is where it should be, and known well enough to say so."""
        return self.refusal is None and self.distance < 1 < self.tenth_off


def refusal_of(family: Family, estimator: str) -> str | None:
    """Return the library's reason for not serving a family, if it has one."""
    try:
        Gradients(family, estimator, samples=2).draw(1)
    except pg.PgpluginsError as error:
        return str(error)
    return None


def reason(refusal: str) -> str:
    """Return the reason out of an error's text, without what was asked and advice.

    Example:
        >>> reason("estimator 'hybrid' does not fit: it is odd. Write another instead.")
        'it is odd'
    """
    found = re.search(r"does not fit: (.*?)\. Write", refusal, re.DOTALL)
    text = found[1] if found else refusal
    return re.split(r"(?<=[\w)])(?:, so no gradient|, and this estimator|\. )", text)[0]


Loss = Callable[[Mapping[str, Tensor]], Tensor]
Front = Callable[[Family, str, int], Loss]


def expectation(family: Family, estimator: str, samples: int) -> Loss:
    """Estimate the expected cost through ``pg.expectation``."""
    chosen = pg.estimator(estimator)  # kept, so that it may learn
    event_dim = len(family.law().event_shape)

    def loss(values: Mapping[str, Tensor]) -> Tensor:
        return pg.expectation(
            lambda x: family.cost(x, event_dim),
            family.build(**values),
            estimator=chosen,
            num_samples=samples,
        )

    return loss


class Gradients:
    """Independent gradients of one family's expected cost by one estimator."""

    def __init__(
        self,
        family: Family,
        estimator: str,
        samples: int = 0,
        seed: int = 0,
        front: Front = expectation,
    ) -> None:
        self.family = family
        self.loss = front(family, estimator, samples or family.samples)
        self.found: dict[str, list[Tensor]] = {name: [] for name in family.start}
        torch.manual_seed(seed)

    def draw(self, calls: int) -> None:
        for _ in range(calls):
            values = self.family.parameters()
            loss = self.loss(values)
            leaves = list(values.values())
            slopes = (
                torch.autograd.grad(loss, leaves, allow_unused=True)
                if loss.requires_grad
                else [None] * len(leaves)
            )
            for (name, value), slope in zip(values.items(), slopes, strict=True):
                slope = torch.zeros_like(value) if slope is None else slope
                self.found[name].append(slope.flatten().double())

    @property
    def calls(self) -> int:
        return len(next(iter(self.found.values())))

    def mean(self, name: str) -> Tensor:
        return torch.stack(self.found[name]).mean(0)

    def error(self, name: str) -> Tensor:
        return torch.stack(self.found[name]).std(0) / math.sqrt(self.calls)


def allowed(calls: int) -> float:
    """Return the largest |t| of a coordinate that the budget allows."""
    return float(stats.t.isf(FALSE_FAILURES / (2 * COMPARISONS), calls - 1))


def measure(
    family: Family,
    estimator: str,
    truth: dict[str, Tensor],
    seed: int = 0,
    front: Front = expectation,
) -> Measured:
    """Draw gradients until they are known well enough, and compare them."""
    gradients = Gradients(family, estimator, seed=seed, front=front)
    names = [name for name in family.start if name not in family.without_expectation]
    try:
        gradients.draw(FIRST)
        while True:
            limit = allowed(gradients.calls)
            precision = max(
                (limit + DETECTED) * _relative_error(gradients, truth, name)
                for name in names
            )
            if precision <= 0.1 or gradients.calls >= MOST:
                break
            wanted = gradients.calls * (precision / 0.1) ** 2 * 1.05
            gradients.draw(min(math.ceil(wanted), MOST) - gradients.calls)
    except pg.PgpluginsError as error:
        return Measured(refusal=str(error))
    distance = max(_distance(gradients, truth, name, limit) for name in names)
    wrong = {name: 0.9 * value for name, value in truth.items()}
    tenth_off = min(
        (
            _distance(gradients, wrong, name, limit)
            for name in names
            if truth[name].any()
        ),
        default=math.inf,
    )
    return Measured(None, distance, precision, tenth_off, gradients.calls)


def _relative_error(gradients: Gradients, truth: dict[str, Tensor], name: str) -> float:
    exact = truth[name].flatten()
    largest = int(exact.abs().argmax())
    error = float(gradients.error(name)[largest])
    return error / abs(float(exact[largest])) if error else 0.0


def _distance(
    gradients: Gradients, truth: dict[str, Tensor], name: str, limit: float
) -> float:
    exact = truth[name].flatten()
    off = (gradients.mean(name) - exact).abs()
    may = limit * gradients.error(name) + TOLERANCE * exact.abs().max()
    return float((off / may).max())
