"""A comparison parameter by parameter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pgplugins.diagnostics.intervals import Interval, Measured, signal_to_noise
from pgplugins.diagnostics.measurement import Contestant
from pgplugins.diagnostics.reference import SIGNIFICANCE, Reference
from pgplugins.diagnostics.statistics import bias_test

SMALL = 8
"""Parameters of at most this many coordinates are shown coordinate by coordinate."""


@dataclass(frozen=True)
class Detail:
    """One parameter, or one of its coordinates, under one estimator.

    Args:
        estimator: The estimator's label.
        parameter: The parameter's name.
        index: The coordinate; ``None`` for the whole parameter.
        size: How many coordinates are meant.
        bias_z: As in :class:`~pgplugins.diagnostics.result.Row`, of these coordinates.
        bias_p: The same, adjusted for these coordinates alone.
        variance: Total variance of their gradient in one call.
        variance_interval: Its confidence interval.
        snr: The norm of their reference over the root of ``variance``.
        snr_interval: Its confidence interval.

    Example:
        Whose noise is it? The path of ``c mu + c sigma eps`` has no noise for the mean,
        and a variance of ``c^2`` for a scale.

        >>> import torch, pgplugins as pg
        >>> mu = torch.tensor(0.0, requires_grad=True)
        >>> sigma = torch.tensor([1.0, 3.0], requires_grad=True)
        >>> comparison = pg.compare(
        ...     (
        ...         lambda x: x * torch.tensor([1.0, 3.0]),
        ...         lambda: torch.distributions.Normal(mu, sigma),
        ...     ),
        ...     ["reparameterized"],
        ...     params={"mu": mu, "sigma": sigma},
        ...     reference={"mu": torch.tensor(4.0), "sigma": torch.zeros(2)},
        ...     seed=3,
        ... )
        >>> for detail in comparison.by_parameter:
        ...     print(detail.name, detail.size, round(detail.variance))
        mu 1 0
        sigma 2 10
        sigma[0] 1 1
        sigma[1] 1 9
        >>> any(detail.significant for detail in comparison.by_parameter)
        False
        >>> comparison.by_parameter[2].to_dict()["index"]
        (0,)
    """

    estimator: str
    parameter: str
    index: tuple[int, ...] | None
    size: int
    bias_z: float
    bias_p: float
    variance: float
    variance_interval: Interval
    snr: float
    snr_interval: Interval

    @property
    def name(self) -> str:
        """The parameter, with the coordinate in brackets."""
        if self.index is None:
            return self.parameter
        return f"{self.parameter}[{', '.join(map(str, self.index))}]"

    @property
    def significant(self) -> bool:
        """Whether chance cannot explain ``bias_z``."""
        return self.bias_p < SIGNIFICANCE

    def to_dict(self) -> dict[str, Any]:
        """Return everything, with the name, as plain data."""
        return asdict(self) | {"name": self.name}


def details_of(contestant: Contestant, reference: Reference) -> Iterator[Detail]:
    """Yield the details of every parameter, and of the coordinates of small ones."""
    start = 0
    for number, (name, parameter) in enumerate(contestant.parameters.items()):
        size = parameter.numel()
        whole = contestant.stats.variance_of_parameter(number)
        yield _detail(
            contestant, reference, name, None, slice(start, start + size), whole
        )
        if 1 < size <= SMALL:
            for offset, index in enumerate(_indices(parameter)):
                at = start + offset
                one = contestant.stats.variance_of_coordinate(at)
                yield _detail(
                    contestant, reference, name, index, slice(at, at + 1), one
                )
        start += size


def _detail(
    contestant: Contestant,
    reference: Reference,
    parameter: str,
    index: tuple[int, ...] | None,
    at: slice,
    variance: Measured,
) -> Detail:
    test = bias_test(
        contestant.stats, reference.gradient, reference.squared_error, at=at
    )
    signal = reference.gradient[at].norm().item()
    snr = signal_to_noise(signal, reference.error(at), variance)
    return Detail(
        estimator=contestant.label,
        parameter=parameter,
        index=index,
        size=at.stop - at.start,
        bias_z=test.z,
        bias_p=test.p,
        variance=variance.value,
        variance_interval=variance.interval,
        snr=snr.value,
        snr_interval=snr.interval,
    )


def _indices(parameter: Tensor) -> list[tuple[int, ...]]:
    every = torch.ones_like(parameter, dtype=torch.bool).nonzero()
    return [tuple(index) for index in every.tolist()]
