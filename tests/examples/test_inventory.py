"""Every choice of estimators has the exact gradient; the best policy is the best."""

import pytest
import torch

import pgplugins as pg
from tests.examples.loading import load
from tests.statistics import assert_mean, gradients

inventory = load("inventory")


def exact(policy):
    tables = list(policy.parameters.values())
    found = torch.autograd.grad(inventory.expected_cost(policy), tables)
    return torch.cat([part.reshape(-1) for part in found])


@pytest.mark.parametrize(
    ("name", "particles", "repeats"),
    [
        ("enumerate the orders", 300, 60),
        ("measure-valued", 300, 60),
        ("score + pathwise", 2_000, 60),
        ("score everywhere", 5_000, 100),
    ],
)
def test_a_choice_has_the_exact_gradient(name, particles, repeats):
    policy = inventory.Policy.start()
    objective = pg.ExpectedCost(
        estimators={f"{k}_*": e for k, e in inventory.CHOICES[name].items()},
        num_particles=particles,
        max_plate_nesting=0,
    )
    shop = inventory.make_shop(policy)
    tables = list(policy.parameters.values())
    assert_mean(gradients(lambda: objective(shop), tables, repeats), exact(policy))


def test_the_exact_gradient_leads_to_the_best_policy_and_not_beyond():
    policy = inventory.Policy.start()
    optimizer = torch.optim.Adam(policy.parameters.values(), lr=0.3)
    for _ in range(150):
        optimizer.zero_grad()
        inventory.expected_cost(policy).backward()
        optimizer.step()
    best = inventory.least_cost()
    reached = inventory.expected_cost(policy).item()
    # Prices on the grid are as good as any, to a part in 1e5.
    assert best - 1e-3 <= reached <= best + 0.01 * abs(best)
