"""Exact values are exact: closed forms, sums and quadratures against one another."""

import pyro.distributions as dist
import pytest
import torch
from torch.testing import assert_close

import pgplugins as pg
from pgplugins.testing.problems import Expectation, Problem, available, built_in
from pgplugins.testing.problems.quadrature import (
    Points,
    counts,
    half_line,
    open_interval,
    real_line,
    summed,
    unit_interval,
)
from pgplugins.testing.problems.scripted import joined_costs, scripted

PROBLEMS = {p.name: p for p in built_in()}


def by_points(problem, points):
    return summed(problem.objective, points, problem.leaves()).sum()


def grid(size, reach):
    axis = torch.linspace(-reach, reach, size, dtype=torch.float64)
    values = torch.cartesian_prod(axis, axis)
    return Points(values, (axis[1] - axis[0]).square().expand(len(values)))


def gradient_of(problem, value):
    leaves = problem.leaves()
    parts = torch.autograd.grad(value(leaves), list(leaves.values()))
    return torch.cat([part.reshape(-1) for part in parts])


@pytest.mark.parametrize(
    ("law", "points"),
    [
        (dist.Normal(0.4, 0.8), real_line()),
        (dist.Gamma(2.5, 1.6), half_line()),
        (dist.Exponential(1.4), half_line()),
        (dist.LogNormal(0.2, 0.5), half_line()),
        (dist.Beta(2.0, 3.0), unit_interval()),
        (dist.Poisson(2.3), counts(60)),
        (dist.Geometric(0.45), counts(300)),
        (dist.Laplace(0.437, 0.6), real_line(30.0, 400_001)),
        (
            dist.TransformedDistribution(
                dist.Normal(0.3, 0.6), [torch.distributions.TanhTransform()]
            ),
            open_interval(),
        ),
    ],
    ids=lambda v: type(v).__name__,
)
def test_points_hold_all_the_mass(law, points):
    mass = (points.weights * law.log_prob(points.values).exp()).sum()
    # Parameters in single precision, densities to as much.
    assert_close(mass, torch.ones((), dtype=torch.float64), rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["gaussian_quadratic", "jump"])
def test_a_normal_closed_form_is_its_quadrature(name):
    problem = PROBLEMS[name]
    # The jump lies on a point, which counts half; a fine rule does not mind.
    fine = real_line(16.0, 4_000_001 if name == "jump" else 4001)
    tolerance = 1e-5 if name == "jump" else 1e-10
    found = gradient_of(problem, lambda p: summed(problem.objective, fine, p).sum())
    assert_close(found, problem.gradient(), rtol=0, atol=tolerance)
    assert_close(by_points(problem, fine), problem.value(), rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("name", "points"),
    [("bernoulli_quadratic", counts(1)), ("softmax_bandit", counts(3))],
)
def test_a_discrete_closed_form_is_its_enumeration(name, points):
    problem = PROBLEMS[name]
    found = gradient_of(problem, lambda p: summed(problem.objective, points, p).sum())
    assert_close(found, problem.gradient())
    assert_close(by_points(problem, points).detach(), problem.value())


@pytest.mark.parametrize("name", ["normal_event", "multivariate_normal"])
def test_a_closed_form_in_the_plane_is_its_quadrature(name):
    problem = PROBLEMS[name]
    points = grid(401, 9.0)
    found = gradient_of(problem, lambda p: summed(problem.objective, points, p).sum())
    assert_close(found, problem.gradient(), rtol=0, atol=1e-8)


def test_the_dirichlets_moments_are_its_quadrature():
    problem = PROBLEMS["dirichlet"]
    x, weights = unit_interval()
    x, weights = x[::20], 20 * weights[::20]
    first, share = torch.meshgrid(x, x, indexing="ij")
    second = (1 - first) * share
    values = torch.stack([first, second, 1 - first - second], -1).reshape(-1, 3)
    mass = (weights[:, None] * weights * (1 - first)).reshape(-1)
    inside = (values > 1e-12).all(-1)
    points = Points(values[inside], mass[inside])
    assert_close(
        by_points(problem, points).detach(), problem.value(), rtol=0, atol=1e-7
    )


def test_known_gradients():
    """The formulas of the textbooks, not autograd's."""
    p = PROBLEMS["gaussian_quadratic"].parameters
    d = p["mu"] - p["target"]
    assert_close(
        PROBLEMS["gaussian_quadratic"].gradient(),
        torch.stack([2 * d, 2 * p["sigma"], -2 * d]),
    )
    bandit = PROBLEMS["softmax_bandit"]
    policy = bandit.parameters["preference"].softmax(-1)
    reward = torch.tensor([1.0, -0.5, 2.0, 0.3], dtype=torch.float64)
    assert_close(bandit.gradient(), policy * (reward - (policy * reward).sum()))
    jump = PROBLEMS["jump"].parameters
    density = dist.Normal(jump["mu"], jump["sigma"]).log_prob(torch.tensor(0.5)).exp()
    assert_close(
        PROBLEMS["jump"].gradient()[0], -2 * jump["mu"] + 3 * density, check_dtype=False
    )


def test_the_regulators_gradient_is_fazels():
    """``2 sum_t [(R + B'P B) K - B'P A] S_t`` (Fazel et al. 2018, lemma 1)."""
    from pgplugins.testing.problems import programs as module

    problem = PROBLEMS["lqr"]
    k, s = problem.parameters["gain"], problem.parameters["log_sigma"].exp()
    a, b, r = module._DYNAMICS, module._CONTROL, 0.3
    m = a - torch.outer(b, k)
    eye = torch.eye(2, dtype=torch.float64)
    after = [eye]
    for _ in range(module._STEPS):
        after.insert(0, eye + r * torch.outer(k, k) + m.mT @ after[0] @ m)
    spread = torch.outer(module._START, module._START)
    gain, log_sigma = torch.zeros(2).double(), torch.zeros(()).double()
    for t in range(module._STEPS):
        p = after[t + 1]
        gain = gain + 2 * ((r + b @ p @ b) * k - b @ p @ a) @ spread
        log_sigma = log_sigma + 2 * s**2 * (r + b @ p @ b)
        spread = m @ spread @ m.mT + s**2 * torch.outer(b, b)
    assert_close(problem.gradient(), torch.cat([gain, log_sigma.reshape(1)]))


def test_the_chains_gradient_is_the_policy_gradient_theorems():
    from pgplugins.testing.problems import programs as module

    problem = PROBLEMS["tabular_chain"]
    policy = problem.parameters["preference"].softmax(-1)
    state = torch.tensor([0.6, 0.4], dtype=torch.float64)
    last = (policy * module._REWARD).sum(-1)
    found = torch.zeros(2, 2, dtype=torch.float64)
    for q in (module._REWARD + module._MOVES @ last, module._REWARD):
        advantage = q - (policy * q).sum(-1, keepdim=True)
        found = found + state[:, None] * policy * advantage
        state = torch.einsum("s,sa,sat->t", state, policy, module._MOVES)
    assert_close(problem.gradient(), -found.flatten())


def test_the_mixed_bounds_gradient_is_that_of_the_text():
    problem = PROBLEMS["mixed_elbo"]
    p = problem.parameters
    q1 = p["logit"].sigmoid()
    means, noise, x = (-0.5, 1.5), 0.9, 1.2
    for k, q in enumerate((1 - q1, q1)):
        mean, scale = p[f"mean_{k}"], p[f"log_scale_{k}"].exp()
        want = -q * ((means[k] - mean) + (x - mean) / noise**2)
        at = problem.coordinates.index(f"mean_{k}")
        assert_close(problem.gradient()[at], want)
        want = -q * (1 - scale**2 * (1 + 1 / noise**2))
        at = problem.coordinates.index(f"log_scale_{k}")
        assert_close(problem.gradient()[at], want)


def test_the_wide_problem_is_the_narrow_ones_limit():
    """``E sin(mean x)`` of many draws, by the law of their mean."""
    problem = PROBLEMS["wide_normal"]
    loc, scale = problem.parameters["loc"], problem.parameters["scale"]
    points = real_line(1.5, 20_001)
    law = dist.Normal(loc, scale / 200**0.5)
    mass = points.weights * law.log_prob(points.values).exp()
    sine = (mass * 4 * points.values.sin()).sum()
    assert_close(problem.value(), sine + loc**2 + scale**2 - 3)


@pytest.mark.parametrize(
    "problem", [*scripted(), *joined_costs()], ids=lambda p: p.name
)
def test_scripted_problems_are_exact(problem):
    estimator = {True: "enumerate", False: "reparameterized"}
    law = problem.objective.law(problem.leaves())
    torch.manual_seed(0)
    leaves = problem.leaves()
    if law.has_rsample:
        loss = pg.expectation(
            lambda x: problem.objective.cost(x, leaves),
            problem.objective.law(leaves),
            estimator=estimator[False],
            num_samples=400_000,
        )
        tolerance = 0.03
    elif law.batch_shape and problem.name.startswith("joined"):
        a, b = leaves["probs"]
        w = leaves["weight"]
        loss = w * a * (1 - b) * 2 + w * a * b * -1 + b + 5
        tolerance = 1e-9
    else:
        loss = pg.expectation(
            lambda x: problem.objective.cost(x, leaves),
            problem.objective.law(leaves),
            estimator=estimator[True],
        )
        tolerance = 1e-9
    parts = torch.autograd.grad(loss.sum(), list(leaves.values()))
    found = torch.cat([part.reshape(-1) for part in parts])
    assert_close(found, problem.gradient(), rtol=0, atol=tolerance)
    assert_close(loss.sum().detach(), problem.value(), rtol=0, atol=tolerance)


def test_a_hessian_is_the_gradients_derivative():
    problem = PROBLEMS["normal"]
    step, found = 1e-5, []
    for name, value in problem.parameters.items():
        ends = [
            Problem(
                "moved",
                {**problem.parameters, name: value + sign * step},
                problem.objective,
                problem.expected_cost,
            ).gradient()
            for sign in (1, -1)
        ]
        found.append((ends[0] - ends[1]) / (2 * step))
    assert_close(torch.stack(found), problem.hessian(), rtol=1e-4, atol=1e-6)


def test_names_are_unique_and_every_family_is_there():
    names = [p.name for p in available()]
    assert len(names) == len(set(names))
    families = {
        type(p.objective.law(p.parameters)).__name__
        for p in built_in()
        if isinstance(p.objective, Expectation)
    }
    assert families >= {
        "Bernoulli",
        "Categorical",
        "OneHotCategorical",
        "Binomial",
        "Poisson",
        "Geometric",
        "Normal",
        "LogNormal",
        "Gamma",
        "Beta",
        "Dirichlet",
        "MultivariateNormal",
        "TransformedDistribution",
        "Independent",
    }


def test_a_problem_in_single_precision_is_refused():
    with pytest.raises(pg.PgpluginsError, match="double precision"):
        Problem(
            "coarse",
            {"a": torch.zeros(1)},
            PROBLEMS["normal"].objective,
            lambda p: p["a"],
        )
    with pytest.raises(pg.PgpluginsError, match="identifier"):
        Problem("two words", {}, PROBLEMS["normal"].objective, lambda p: torch.zeros(1))
