"""Pyro programs with several sites: control, plates, nesting, a variational bound."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pgplugins.core.problem import Parameters, Problem, Program, Variational
from pgplugins.infer.cost import cost
from pgplugins.testing.problems.families import number


def programs() -> list[Problem]:
    """Programs whose sites depend on one another."""
    return [_lqr(), _tabular_chain(), _mixed_elbo(), _plated(), _vine()]


_DYNAMICS = torch.tensor([[1.0, 0.2], [0.0, 0.9]], dtype=torch.float64)
_CONTROL = torch.tensor([0.1, 0.5], dtype=torch.float64)
_START = torch.tensor([1.0, -0.5], dtype=torch.float64)
_STEPS = 2


def _lqr() -> Problem:
    """Two steps of a linear-quadratic regulator with a Gaussian policy.

    ``P_t = Q + K'RK + M'P_{t+1}M`` with ``M = A - BK``, here with ``Q = I``, ``R`` and
    the noise of the policy as the only noise.
    """
    weight = 0.3

    def program(p: Parameters) -> None:
        gain, spread = p["gain"], p["log_sigma"].exp()
        state = _START.to(gain).expand(gain.shape)
        for t in range(_STEPS):
            mean = -(gain * state).sum(-1)
            action = pyro.sample(f"action_{t}", dist.Normal(mean, spread))
            pushed = action.unsqueeze(-1) * _CONTROL.to(gain)
            following = state @ _DYNAMICS.mT.to(gain) + pushed
            cost(f"cost_{t}", state.square().sum(-1) + weight * action.square() - 2)
            state = following
        cost("final", state.square().sum(-1))

    def expected(p: Parameters) -> Tensor:
        gain, variance = p["gain"], (2 * p["log_sigma"]).exp()
        closed = _DYNAMICS - torch.outer(_CONTROL, gain)
        value = torch.eye(2, dtype=torch.float64)
        noise = -2.0 * _STEPS * torch.ones((), dtype=torch.float64)
        for _ in range(_STEPS):
            noise = noise + variance * (weight + _CONTROL @ value @ _CONTROL)
            value = (
                torch.eye(2, dtype=torch.float64)
                + weight * torch.outer(gain, gain)
                + closed.mT @ value @ closed
            )
        return _START @ value @ _START + noise

    return Problem(
        "lqr",
        {"gain": number(0.3, 0.5), "log_sigma": number(-0.7)},
        Program(program),
        expected,
    )


_MOVES = torch.tensor(
    [[[0.8, 0.2], [0.3, 0.7]], [[0.5, 0.5], [0.1, 0.9]]], dtype=torch.float64
)
_REWARD = torch.tensor([[1.0, -0.5], [0.2, 1.5]], dtype=torch.float64)


def _tabular_chain() -> Problem:
    """Two states, two actions, two steps: ``V_t(s) = pi (r + P V_{t+1})``."""
    start = torch.tensor([0.6, 0.4], dtype=torch.float64)

    def program(p: Parameters) -> None:
        theta = p["preference"]
        state = pyro.sample("state_0", dist.OneHotCategorical(start.to(theta)))
        for t in range(2):
            logits = (state.unsqueeze(-1) * theta).sum(-2)
            action = pyro.sample(f"action_{t}", dist.OneHotCategorical(logits=logits))
            both = state.unsqueeze(-1) * action.unsqueeze(-2)
            cost(f"cost_{t}", -(both * _REWARD.to(theta)).sum((-1, -2)))
            if t == 0:
                moves = (both.unsqueeze(-1) * _MOVES.to(theta)).sum((-2, -3))
                state = pyro.sample("state_1", dist.OneHotCategorical(moves))

    def expected(p: Parameters) -> Tensor:
        policy = p["preference"].softmax(-1)
        value = torch.zeros(2, dtype=torch.float64)
        for _ in range(2):
            value = (policy * (_REWARD + _MOVES @ value)).sum(-1)
        return -(start * value).sum()

    preference = torch.tensor([[0.3, -0.4], [0.2, 0.6]], dtype=torch.float64)
    return Problem(
        "tabular_chain",
        {"preference": preference},
        Program(program),
        expected,
        differentiable_cost=False,
    )


def _mixed_elbo() -> Problem:
    """A coin chooses the mean of a Normal that is observed through noise.

    With ``E_k = E[log p - log q | z = k]`` the bound is ``sum_k q_k E_k``; every term
    is the mean of a Gaussian quadratic.
    """
    prior, seen, noise = 0.4, 1.2, 0.9
    means = number(-0.5, 1.5)

    def model(p: Parameters) -> None:
        like = p["logit"]
        z = pyro.sample("z", dist.Bernoulli(number(prior).to(like)))
        centre = means[0].to(like) * (1 - z) + means[1].to(like) * z
        w = pyro.sample("w", dist.Normal(centre, torch.ones(()).to(like)))
        pyro.sample("x", dist.Normal(w, noise), obs=number(seen).to(like))

    def guide(p: Parameters) -> None:
        z = pyro.sample("z", dist.Bernoulli(logits=p["logit"]))
        centre = p["mean_0"] * (1 - z) + p["mean_1"] * z
        spread = (p["log_scale_0"] * (1 - z) + p["log_scale_1"] * z).exp()
        pyro.sample("w", dist.Normal(centre, spread))

    def expected(p: Parameters) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        q1 = p["logit"].sigmoid()
        for k, (q, mass) in enumerate(((1 - q1, 1 - prior), (q1, prior))):
            mean, log_scale = p[f"mean_{k}"], p[f"log_scale_{k}"]
            variance = (2 * log_scale).exp()
            # Half the squares, less the entropy; log(2 pi)/2 is left once, of x.
            gap = 0.5 * ((mean - means[k]) ** 2 + variance) - log_scale - 0.5
            fit = 0.5 * ((mean - seen) ** 2 + variance) / noise**2
            total = total + q * (gap + fit + (q / mass).log())
        constant = 0.5 * torch.tensor(2 * torch.pi * noise**2).double().log()
        return total + constant

    return Problem(
        "mixed_elbo",
        {
            "logit": number(0.3),
            "mean_0": number(0.4),
            "mean_1": number(0.7),
            "log_scale_0": number(-0.3),
            "log_scale_1": number(0.2),
        },
        Variational(model, guide),
        expected,
    )


def _plated() -> Problem:
    """A global coin above a plate of coins, with a mask, and costs of both kinds."""
    size = 3
    shift = number(0.3, -0.4, 0.8)
    kept: Any = torch.tensor([True, False, True])  # a mask, says Pyro

    def program(p: Parameters) -> None:
        a = pyro.sample("a", dist.Bernoulli(logits=p["above"]))
        with pyro.plate("elements", size, dim=-1):
            b = pyro.sample("b", dist.Bernoulli(logits=p["link"] * a + p["below"]))
            cost("all", (b - shift.to(b)) * (1.5 * a - 0.5))
            with pyro.poutine.mask(mask=kept):
                cost("some", (2 * b - a) * p["weight"])
        cost("above", a * p["weight"])

    def expected(p: Parameters) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        q1 = p["above"].sigmoid()
        for a, q in ((0.0, 1 - q1), (1.0, q1)):
            mean = (p["link"] * a + p["below"]).sigmoid()
            inside = (mean - shift) * (1.5 * a - 0.5)
            inside = inside + kept * (2 * mean - a) * p["weight"]
            total = total + (q * (inside.sum(-1) + a * p["weight"])).sum()
        return total

    return Problem(
        "plated",
        {
            "above": number(0.4).reshape(1),
            "below": number(0.2, -0.6, 0.5),
            "link": number(0.9).reshape(1),
            "weight": number(1.2).reshape(1),
        },
        Program(program, plates=1),
        expected,
    )


def _vine() -> Problem:
    """Normal above Bernoulli above Normal: every site's law depends on the last."""

    def program(p: Parameters) -> None:
        x = pyro.sample("x", dist.Normal(p["loc"], p["scale"]))
        b = pyro.sample("b", dist.Bernoulli(logits=p["slope"] * x - 0.2))
        y = pyro.sample("y", dist.Normal(p["effect"] * b + 0.5 * x, 0.7))
        cost("first", x.tanh() * (b - 0.8 + x.tanh()))
        cost("last", (y - 0.5).tanh() + 0.5 * b)

    def expected(p: Parameters) -> Tensor:
        # Both Normals by quadrature of standard normal draws, the coin by its masses.
        z = torch.linspace(-9.0, 9.0, 201, dtype=torch.float64)
        mass = (-0.5 * z.square()).exp()
        mass = mass / mass.sum()
        x = p["loc"] + p["scale"] * z
        q1 = (p["slope"] * x - 0.2).sigmoid()
        total = torch.zeros((), dtype=torch.float64)
        for b, q in ((0.0, 1 - q1), (1.0, q1)):
            y = (p["effect"] * b + 0.5 * x).unsqueeze(-1) + 0.7 * z
            last = (mass * (y - 0.5).tanh()).sum(-1) + 0.5 * b
            first = x.tanh() * (b - 0.8 + x.tanh())
            total = total + (mass * q * (first + last)).sum()
        return total

    return Problem(
        "vine",
        {
            "loc": number(0.6),
            "scale": number(0.8),
            "slope": number(1.1),
            "effect": number(1.4),
        },
        Program(program),
        expected,
    )
