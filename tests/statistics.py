"""Repeated gradients, and how far their mean may lie from the truth by chance.

Every statistical test has a fixed seed, and a budget: ``assert_mean`` fails a right
estimator with a probability of at most ``FALSE_FAILURES`` over all its coordinates, had
the seed been drawn anew. It refuses samples that are too few to see an error of 10%:
then the test would hold for a wrong estimator as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import torch
from torch import Tensor

FALSE_FAILURES = 1e-6
POWER = 8.0  # standard errors that a tenth of the gradient has to measure


def parameter(*values: object) -> Tensor:
    """Return a leaf in double precision: a scalar from one number, else a vector."""
    given = values[0] if len(values) == 1 else values
    return torch.tensor(given, dtype=torch.float64, requires_grad=True)


def flat_gradient(
    loss: Tensor, parameters: Sequence[Tensor], *, create_graph: bool = False
) -> Tensor:
    """Gradients of a scalar, flattened and joined; zeros where there is none."""
    parts = torch.autograd.grad(
        loss, parameters, allow_unused=True, create_graph=create_graph
    )
    return torch.cat(
        [
            (torch.zeros_like(p) if g is None else g).reshape(-1)
            for g, p in zip(parts, parameters, strict=True)
        ]
    )


def gradients(
    make_loss: Callable[[], Tensor],
    parameters: Sequence[Tensor],
    repeats: int,
    seed: int = 0,
) -> Tensor:
    """Return one gradient per call, shape ``(repeats, coordinates)``."""
    torch.manual_seed(seed)
    return torch.stack(
        [flat_gradient(make_loss().sum(), parameters) for _ in range(repeats)]
    )


def per_sample(
    make_loss: Callable[..., Tensor],
    parameters: Sequence[Tensor],
    samples: int,
    seed: int = 0,
) -> Tensor:
    """Return independent gradients from one call, shape ``(samples, coordinates)``.

    ``make_loss`` gets a copy of the (scalar) parameters per sample and returns a batch
    of independent losses, so that the gradients stay apart.
    """
    torch.manual_seed(seed)
    copies = [p.detach().expand(samples).clone().requires_grad_() for p in parameters]
    parts = torch.autograd.grad(make_loss(*copies).sum(), copies)
    return torch.stack(parts, -1)


def per_sample_hessian(
    make_loss: Callable[..., Tensor],
    parameters: Sequence[Tensor],
    samples: int,
    seed: int = 0,
) -> Tensor:
    """Return independent Hessians from one call, ``(samples, coordinates ** 2)``.

    As :func:`per_sample`, one derivative further.
    """
    torch.manual_seed(seed)
    copies = [p.detach().expand(samples).clone().requires_grad_() for p in parameters]
    first = torch.autograd.grad(make_loss(*copies).sum(), copies, create_graph=True)
    rows = [
        torch.zeros_like(c) if part is None else part
        for entry in first
        for c, part in zip(
            copies,
            torch.autograd.grad(
                entry.sum(), copies, retain_graph=True, allow_unused=True
            ),
            strict=True,
        )
    ]
    return torch.stack(rows, -1)


def hessian(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return all second derivatives of a scalar, ``(coordinates, coordinates)``."""
    first = flat_gradient(loss, parameters, create_graph=True)
    rows = []
    for entry in first:
        parts = torch.autograd.grad(
            entry, parameters, retain_graph=True, allow_unused=True
        )
        rows.append(
            torch.cat(
                [
                    (torch.zeros_like(p) if g is None else g).reshape(-1)
                    for g, p in zip(parts, parameters, strict=True)
                ]
            )
        )
    return torch.stack(rows)


def limit(coordinates: int) -> float:
    """Largest |z| of independent normal coordinates that the budget allows."""
    return NormalDist().inv_cdf(1 - FALSE_FAILURES / (2 * coordinates))


def zscore(samples: Tensor, exact: Tensor) -> Tensor:
    """Distance of the mean from the truth in standard errors, per coordinate.

    Coordinates that do not vary are held to rounding: 0 or infinity.
    """
    exact = exact.detach().reshape(-1).to(samples)
    mean, deviation = samples.mean(0), samples.std(0)
    off = (mean - exact).abs()
    still = deviation <= 1e-9 * (1 + exact.abs())
    agree = off <= 1e-9 * (1 + exact.abs())
    rigid = torch.where(agree, torch.zeros_like(off), torch.full_like(off, math.inf))
    error = deviation / math.sqrt(len(samples))
    return torch.where(still, rigid, off / error.clamp_min(1e-300))


def assert_mean(samples: Tensor, exact: Tensor, *, power: bool = True) -> None:
    """Assert that samples of shape ``(repeats, coordinates)`` have the mean ``exact``.

    Args:
        samples: Independent estimates.
        exact: The truth.
        power: Also assert that an error of 10% of the truth's norm would be seen.
    """
    exact = exact.detach().reshape(-1).to(samples)
    if power:
        error = (samples.var(0) / len(samples)).sum().sqrt()
        assert 0.1 * exact.norm() >= POWER * error / math.sqrt(exact.numel()), (
            f"too few samples to see an error of 10%: |truth| {exact.norm():.3g}, "
            f"standard error {error:.3g}"
        )
    z = zscore(samples, exact)
    allowed = limit(exact.numel())
    assert z.max() < allowed, (
        f"max|z| {z.max():.2f} over {allowed:.2f}: mean {samples.mean(0).tolist()}, "
        f"exact {exact.tolist()}"
    )


def assert_variance(samples: Tensor, exact: Tensor, tolerance: float = 0.1) -> None:
    """Assert that the variance is ``exact``, and known well enough to see 10%.

    The standard error of a variance is estimated from the fourth moment.
    """
    exact = torch.as_tensor(exact).reshape(-1).to(samples)
    centred = (samples - samples.mean(0)) ** 2
    error = centred.std(0) / math.sqrt(len(samples))
    assert (POWER * error <= tolerance * exact).all(), (
        f"too few samples: standard errors {error.tolist()} of {exact.tolist()}"
    )
    z = ((centred.mean(0) - exact) / error).abs()
    assert z.max() < limit(exact.numel()), (
        f"variance {centred.mean(0).tolist()}, exact {exact.tolist()}, z {z.tolist()}"
    )
