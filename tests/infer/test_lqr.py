"""A linear-quadratic regulator: the policy gradient against its Riccati-exact value."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from tests.statistics import assert_mean, gradients

A = torch.tensor([[1.0, 0.2], [0.0, 0.9]], dtype=torch.float64)
B = torch.tensor([[0.0], [0.5]], dtype=torch.float64)
Q, QF = torch.eye(2).double(), 2 * torch.eye(2).double()
R = 0.1 * torch.eye(1).double()
W, S0 = 0.05 * torch.eye(2).double(), 0.5 * torch.eye(2).double()
T, SIGMA, N = 4, 0.5, 64
K0 = torch.tensor([[0.3, 0.4]], dtype=torch.float64)


def exact():
    """Gradients 2 sum_t [(R + B'PB) K - B'PA] Sigma_t and 2 s^2 sum_t tr(R + B'PB)."""
    m = A - B @ K0
    values = [QF]
    for _ in range(T):
        values.insert(0, Q + K0.T @ R @ K0 + m.T @ values[0] @ m)
    for_k, for_log_s, state = torch.zeros_like(K0), 0.0, S0
    for t in range(T):
        curvature = R + B.T @ values[t + 1] @ B
        for_k = for_k + 2 * (curvature @ K0 - B.T @ values[t + 1] @ A) @ state
        for_log_s = for_log_s + 2 * SIGMA**2 * curvature.trace()
        state = m @ state @ m.T + SIGMA**2 * B @ B.T + W
    return torch.cat([for_k.flatten(), for_log_s.reshape(1)])


def rollouts(k, log_s):
    def program():
        with pyro.plate("env", N):
            law = dist.MultivariateNormal(torch.zeros(2).double(), S0)
            x = pyro.sample("x0", law)
            for t in range(T):
                u = pyro.sample(
                    f"u{t}", dist.Normal(-(x @ k.T), log_s.exp()).to_event(1)
                )
                pg.cost(f"c{t}", (x @ Q * x).sum(-1) + (u @ R * u).sum(-1))
                noise = torch.randn_like(x) * W.diagonal().sqrt()
                x = x @ A.T + u @ B.T + noise
            pg.cost("final", (x @ QF * x).sum(-1))

    return program


def sampled(repeats, **options):
    k = K0.clone().requires_grad_()
    log_s = torch.tensor(SIGMA).double().log().requires_grad_()
    objective = pg.ExpectedCost(**options)
    program = rollouts(k, log_s)
    return gradients(lambda: objective(program) / N, [k, log_s], repeats)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize(
    ("name", "repeats"),
    [("score_function", 250), ("reparameterized", 150), ("hybrid", 150)],
)
def test_the_policy_gradient(name, repeats, static):
    found = sampled(
        repeats, estimators={"u*": name, "x0": "reparameterized"}, static=static
    )
    assert_mean(found, exact(), power=name != "score_function")


def test_the_score_function_to_a_tenth():
    found = sampled(
        400,
        estimators={"u*": "score_function", "x0": "reparameterized"},
        num_particles=32,
        max_plate_nesting=1,
    )
    assert_mean(found, exact())


def test_reward_to_go_halves_the_variance_of_total_return():
    plain = {"u*": pg.estimator("score_function", baseline=None), "x0": "pathwise"}
    to_go = sampled(200, estimators=plain).var(0).sum()
    total = sampled(200, estimators=plain, dependencies="plates").var(0).sum()
    assert to_go < 0.75 * total
