"""Distributions that are made of others: wrapped, masked, expanded, transformed."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from pyro.distributions import transforms
from scipy import stats

from tests.families.family import Family
from tests.families.truth import density, integral, normal_grid


def _folded_normal(cost, loc, scale):
    return _of_scalar(lambda x: cost(x.abs()), loc, scale)


def _tanh_normal(cost, loc, scale):
    return _of_scalar(lambda x: cost(torch.tanh(x)), loc, scale)


def _rejector(loc):
    """Return normal draws that are accepted with a logistic chance."""
    z = torch.linspace(-9, 9, 2001, dtype=torch.float64)
    weight = torch.exp(-0.5 * z * z)
    chance = (torch.sigmoid(loc.unsqueeze(-1) + z) * weight).sum(-1) / weight.sum()
    return dist.Rejector(
        dist.Normal(loc, 1.0), torch.nn.functional.logsigmoid, chance.log()
    )


def _accepted(cost, loc):
    z = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    weight = torch.exp(-0.5 * z * z) * torch.sigmoid(loc + z)
    return (cost(loc + z) * weight).sum() / weight.sum()


def _of_scalar(cost, loc, scale):
    z = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    weight = torch.exp(-0.5 * z * z)
    return (cost(loc + scale * z) * weight).sum() / weight.sum()


def _of_normal_vector(transform):
    """Integrate what ``transform(**others)`` makes of a normal of two dimensions."""

    def expected(cost, loc, scale, **others):
        z, weight = normal_grid(2, 201)
        return (cost(transform(**others)(loc + scale * z)) * weight).sum()

    return expected


def _normal(loc, scale):
    return dist.Normal(loc, scale).to_event(1)


def _of_parameters(flow, **parameters):
    """Give a flow tensors in place of its own parameters."""
    for name, value in parameters.items():
        del flow._parameters[name]
        setattr(flow, name, value)
    return flow


def _planar(**parameters):
    return _of_parameters(transforms.Planar(2), **parameters)


def _autoregressive(dtype):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = transforms.affine_autoregressive(2, [4])
    return flow.to(dtype).requires_grad_(False)


def _spline(**parameters):
    flow = transforms.Spline(2, count_bins=3, bound=2.0, order="quadratic")
    flow.unnormalized_derivatives.data = torch.tensor([[0.2, 0.4], [0.6, -0.1]])
    flow = flow.double().requires_grad_(False)
    return _of_parameters(flow, **parameters)


def _tensor(x):
    return torch.tensor(x, dtype=torch.float64)


LOC_SCALE = {"loc": 0.3, "scale": 0.8}
VECTOR = {"loc": [0.3, -0.2], "scale": [0.7, 0.9]}
PLANAR = {"bias": [0.2], "u": [0.6, -0.3], "w": [0.5, 0.7]}
SPLINE = {
    "unnormalized_widths": [[0.3, -0.2, 0.1], [0.0, 0.4, -0.3]],
    "unnormalized_heights": [[-0.2, 0.5, 0.1], [0.3, -0.4, 0.2]],
}
BUILT = [
    Family(
        "FoldedDistribution",
        {"loc": 0.5, "scale": 0.8},
        lambda loc, scale: dist.FoldedDistribution(dist.Normal(loc, scale)),
        note="Normal",
        truth=integral(_folded_normal),
        centre=0.7,
        width=0.25,
    ),
    Family(
        "Rejector",
        {"loc": 0.4},
        _rejector,
        truth=integral(_accepted),
        centre=0.7,
        width=0.25,
    ),
    Family(
        "MaskedMixture",
        {"loc": 0.3, "scale": 0.8},
        lambda loc, scale: dist.MaskedMixture(
            torch.tensor(True),
            dist.Laplace(_tensor(0.0), _tensor(1.0)),
            dist.Normal(loc, scale),
        ),
        truth=density(stats.norm),
        centre=1.0,
        width=0.25,
    ),
    Family(
        "TransformedDistribution",
        LOC_SCALE,
        lambda loc, scale: dist.TransformedDistribution(
            dist.Normal(loc, scale), [dist.transforms.TanhTransform()]
        ),
        note="tanh of a Normal",
        truth=integral(_tanh_normal),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "TransformedDistribution",
        LOC_SCALE,
        lambda loc, scale: dist.TransformedDistribution(
            dist.Normal(_tensor(0.0), _tensor(1.0)),
            [
                dist.transforms.AffineTransform(loc, scale),
                dist.transforms.TanhTransform(cache_size=1),
            ],
        ),
        note="parameters in the transforms",
        truth=integral(_tanh_normal),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "TransformedDistribution",
        {"loc": 0.3},
        lambda loc: dist.TransformedDistribution(
            dist.Exponential(_tensor(1.0)), [dist.transforms.AffineTransform(loc, 1.0)]
        ),
        note="a bound that moves with a transform",
        truth=density(lambda loc: stats.expon(loc=loc)),
        centre=1.4,
        width=2.0,
    ),
    Family(
        "TransformedDistribution",
        {"scale": 0.7},
        lambda scale: dist.TransformedDistribution(
            dist.Exponential(_tensor(1.0)),
            [dist.transforms.AffineTransform(0.0, scale)],
        ),
        note="a bound that stays",
        truth=density(lambda scale: stats.expon(scale=scale)),
        width=0.25,
    ),
    Family(
        "TransformedDistribution",
        {"high": 1.2},
        lambda high: dist.TransformedDistribution(
            dist.Uniform(_tensor(0.0), high), [dist.transforms.ExpTransform()]
        ),
        note="of a Uniform whose bound moves",
        truth=density(lambda high: stats.loguniform(1.0, math.exp(high))),
        centre=-1.0,
    ),
    Family(
        "ExpandedDistribution",
        {"v": 0.4},
        lambda v: dist.ExpandedDistribution(
            dist.Rejector(dist.Normal(v, 1.0), torch.zeros_like, torch.zeros_like(v)),
            torch.Size([]),
        ),
        note="Rejector",
        truth=density(lambda v: stats.norm(v, 1.0)),
        width=0.25,
    ),
    Family(
        "ExpandedDistribution",
        LOC_SCALE,
        lambda loc, scale: dist.ExpandedDistribution(
            dist.Normal(loc, scale), torch.Size([])
        ),
        note="Normal",
        truth=density(stats.norm),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "MaskedDistribution",
        LOC_SCALE,
        lambda loc, scale: dist.Normal(loc, scale).mask(torch.tensor(False)),
        note="Normal",
        truth=density(stats.norm),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "TransformedDistribution",
        {"loc": 0.3, "scale": 0.5},
        lambda loc, scale: dist.TransformedDistribution(
            dist.Normal(_tensor(0.0), _tensor(1.0)),
            [transforms.AffineTransform(loc, scale), transforms.ExpTransform()],
        ),
        note="affine, exp",
        truth=density(lambda loc, scale: stats.lognorm(scale, scale=math.exp(loc))),
        centre=2.0,
        width=0.25,
    ),
    Family(
        "TransformedDistribution",
        LOC_SCALE,
        lambda loc, scale: dist.TransformedDistribution(
            dist.Normal(loc, scale),
            [transforms.SigmoidTransform(), transforms.AffineTransform(-1.0, 3.0)],
        ),
        note="sigmoid, affine",
        truth=integral(
            lambda cost, loc, scale: _of_scalar(
                lambda x: cost(3 * torch.sigmoid(x) - 1), loc, scale
            )
        ),
        centre=1.4,
        width=0.25,
    ),
    Family(
        "TransformedDistribution",
        VECTOR,
        lambda loc, scale: dist.TransformedDistribution(
            _normal(loc, scale), [transforms.StickBreakingTransform()]
        ),
        note="stick-breaking",
        truth=integral(_of_normal_vector(transforms.StickBreakingTransform)),
        centre=0.2,
        width=0.25,
    ),
    Family(
        "TransformedDistribution",
        VECTOR | SPLINE,
        lambda loc, scale, **p: dist.TransformedDistribution(
            _normal(loc, scale), [_spline(**p)]
        ),
        note="spline",
        truth=integral(_of_normal_vector(_spline)),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "TransformedDistribution",
        VECTOR,
        lambda loc, scale: dist.TransformedDistribution(
            _normal(loc, scale), [_autoregressive(torch.float32)]
        ),
        note="autoregressive flow",
        truth=integral(_of_normal_vector(lambda: _autoregressive(torch.float64))),
        dtype=torch.float32,  # Pyro inverts this flow in the default type only
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "TransformedDistribution",
        VECTOR | PLANAR,
        lambda loc, scale, **p: dist.TransformedDistribution(
            _normal(loc, scale), [_planar(**p)]
        ),
        note="planar flow",
        truth=integral(_of_normal_vector(_planar)),
        centre=-0.4,
        width=0.25,
    ),
    Family(
        "ConditionalTransformedDistribution",
        LOC_SCALE,
        lambda loc, scale: dist.ConditionalTransformedDistribution(
            dist.Normal(loc, scale), [transforms.TanhTransform()]
        ).condition(None),
        truth=integral(_tanh_normal),
        centre=0.7,
        width=0.25,
    ),
]
