"""Score terms: exact derivatives of first, second and third order, by enumeration."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical

from pgplugins.core.algebra import score_term, spread, without_direct_gradient
from tests.statistics import parameter

WEIGHTS = torch.tensor([0.7, -1.1, 0.4], dtype=torch.float64)


def law(theta, shift=0.0):
    """Three outcomes whose probabilities depend on two parameters."""
    return Categorical(logits=torch.stack([theta[0], theta[1] + shift, 0.0 * theta[0]]))


def cost_of(x, theta):
    """A cost that depends on the parameters as well as on the draw."""
    return (WEIGHTS[x] + theta[0] * x) ** 3 + torch.sin(theta[1]) * x


def derivatives(value, theta, order):
    """All derivatives up to ``order``, flattened and joined."""
    found, level = [], value.reshape(1)
    for _ in range(order):
        level = torch.cat(
            [torch.autograd.grad(v, theta, create_graph=True)[0] for v in level]
        )
        found.append(level)
    return torch.cat(found)


def mean_over_draws(loss, density, draws, theta, order):
    """Expectation of a sampled loss's derivatives, the draws held fixed."""
    return sum(
        density(x).detach() * derivatives(loss(x), theta, order) for x in draws
    ).detach()


def assert_right_to_order(loss, cost, log_density, draws, order, theta):
    exact = derivatives(
        sum(log_density(x).exp() * cost(x) for x in draws), theta, order
    )
    found = mean_over_draws(loss, lambda x: log_density(x).exp(), draws, theta, order)
    torch.testing.assert_close(found, exact.detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_one_site_whose_cost_depends_on_the_parameters(order):
    theta = parameter(0.3, -0.4)

    def log_density(x):
        return law(theta).log_prob(torch.tensor(x))

    def loss(x):
        cost = cost_of(x, theta)
        return cost + score_term(cost, log_density(x))

    assert_right_to_order(
        loss, lambda x: cost_of(x, theta), log_density, range(3), order, theta
    )


@pytest.mark.parametrize("order", [1, 2, 3])
def test_two_nested_sites_folded_from_the_last(order):
    theta = parameter(0.3, -0.4)
    pairs = list(itertools.product(range(3), range(3)))

    def first(pair):
        return law(theta).log_prob(torch.tensor(pair[0]))

    def second(pair):
        return law(theta, 0.5 * pair[0]).log_prob(torch.tensor(pair[1]))

    def cost(pair):
        return cost_of(pair[0], theta) * cost_of(pair[1], theta)

    def loss(pair):
        inner = cost(pair) + score_term(cost(pair), second(pair))
        return inner + score_term(inner, first(pair))

    assert_right_to_order(
        loss, cost, lambda p: first(p) + second(p), pairs, order, theta
    )


@pytest.mark.parametrize("order", [1, 2, 3])
def test_own_log_density_as_cost_without_its_direct_gradient(order):
    theta = parameter(0.3, -0.4)

    def log_density(x):
        return law(theta).log_prob(torch.tensor(x))

    def cost(x):
        return log_density(x) + cost_of(x, theta)

    def loss(x):
        held = without_direct_gradient(log_density(x)) + cost_of(x, theta)
        return held + score_term(held, log_density(x))

    assert_right_to_order(loss, cost, log_density, range(3), order, theta)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_constant_baseline_changes_no_derivative(order):
    theta = parameter(0.3, -0.4)

    def log_density(x):
        return law(theta).log_prob(torch.tensor(x))

    def loss(x):
        cost = cost_of(x, theta)
        return cost + score_term(cost - 2.5, log_density(x))

    assert_right_to_order(
        loss, lambda x: cost_of(x, theta), log_density, range(3), order, theta
    )


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("shape", [(1,), (3,), (2, 1)], ids=str)
def test_elements_that_share_a_cost_have_one_score(shape, order):
    theta = parameter(0.3, -0.4)
    full = {(1,): (3,), (3,): (3,), (2, 1): (2, 2)}[shape]
    count = torch.Size(full).numel()
    draws = [
        torch.tensor(x).reshape(full)
        for x in itertools.product(range(3), repeat=count)
        if max(x) < (2 if count > 3 else 3)
    ]
    shifts = torch.linspace(-1, 1, count, dtype=torch.float64).reshape(full)

    def log_probs(x):
        logits = torch.stack(
            [theta[0] + 0 * shifts, theta[1] * shifts]
            + ([] if count > 3 else [0 * shifts]),
            -1,
        )
        return Categorical(logits=logits).log_prob(x)

    def costs(x):
        per_element = cost_of(x, theta)
        if shape == (2, 1):
            return per_element.prod(-1, keepdim=True)
        return per_element.prod(-1, keepdim=True) if shape == (1,) else per_element

    def loss(x):
        shared = costs(x)
        signal = spread(shared, full, log_probs(x))
        return shared.sum() + score_term(signal, log_probs(x)).sum()

    assert_right_to_order(
        loss,
        lambda x: costs(x).sum(),
        lambda x: log_probs(x).sum(),
        draws,
        order,
        theta,
    )


@settings(deadline=None, max_examples=40)
@given(
    left=st.sampled_from([(), (3,), (2, 1), (2, 3), (1, 1)]),
    right=st.sampled_from([(), (3,), (2, 1), (2, 3), (1, 3)]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_value_zero_and_first_derivative_for_all_shapes(left, right, dtype):
    cost = torch.randn(left, dtype=dtype, requires_grad=True)
    log_prob = torch.randn(right, dtype=dtype, requires_grad=True)
    term = score_term(cost, log_prob)
    assert term.dtype == dtype
    assert torch.equal(
        term, torch.zeros(torch.broadcast_shapes(left, right), dtype=dtype)
    )
    upward = torch.randn_like(term)
    for_log_prob, for_cost = torch.autograd.grad(
        term, [log_prob, cost], upward, allow_unused=True
    )
    want = (upward * cost.detach()).sum_to_size(log_prob.shape)
    torch.testing.assert_close(for_log_prob, want)
    assert for_cost is None or not for_cost.any()


def test_a_first_derivative_does_not_walk_through_the_cost():
    walked = []
    root = parameter(2.0)
    middle = root * 3
    middle.register_hook(lambda g: walked.append(g))
    score_term(middle, parameter(0.5)).backward()
    assert not any(g is not None and g.any() for g in walked)
    assert root.grad is None


def test_a_density_that_is_not_finite_shows_in_the_value():
    log_prob = torch.tensor(-torch.inf, requires_grad=True)
    assert score_term(torch.tensor(1.0), log_prob).isnan()
