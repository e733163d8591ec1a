"""What is downstream of what: found soundly, and used to lower the variance."""

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from tests.statistics import assert_mean, flat_gradient, gradients, parameter

WAYS = ["provenance", "plates", "order"]
PLAIN = pg.estimator("score_function", baseline=None)
LOGITS = [0.3, -0.4, 0.8]


def chain(logits):
    """Rewards after every step; the first cost is upstream of everything."""

    def program():
        state = torch.zeros((), dtype=torch.float64)
        pg.cost("start", torch.tensor(50.0).double())
        for t in range(3):
            a = pyro.sample(f"a{t}", dist.Bernoulli(logits=logits[t] + 0.5 * state))
            state = state + a
            pg.cost(f"c{t}", (state - 1) ** 2 + 4 * (1 - a) * t)

    return program


def exact_chain(logits):
    total = 50.0
    for path in itertools.product([0.0, 1.0], repeat=3):
        log_prob, cost, state = 0.0, 0.0, torch.zeros((), dtype=torch.float64)
        for t, a in enumerate(torch.tensor(path).double()):
            law = dist.Bernoulli(logits=logits[t] + 0.5 * state)
            log_prob = log_prob + law.log_prob(a)
            state = state + a
            cost = cost + (state - 1) ** 2 + 4 * (1 - a) * t
        total = total + log_prob.exp() * cost
    return total


def run_chain(repeats=60, particles=4000, **options):
    logits = parameter(*LOGITS)
    objective = pg.ExpectedCost(num_particles=particles, **options)
    found = gradients(lambda: objective(chain(logits)), [logits], repeats)
    return found, flat_gradient(exact_chain(logits), [logits])


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("dependencies", WAYS)
def test_every_way_to_find_dependencies_is_unbiased(dependencies, static):
    found, exact = run_chain(
        estimators="score_function", dependencies=dependencies, static=static
    )
    assert_mean(found, exact)


@pytest.mark.parametrize("dependencies", WAYS)
def test_static_dependencies_change_no_gradient(dependencies):
    runs = [
        run_chain(
            repeats=4,
            particles=3,
            estimators=PLAIN,
            dependencies=dependencies,
            static=static,
        )[0]
        for static in (False, True)
    ]
    torch.testing.assert_close(runs[0], runs[1])


def test_reward_to_go_is_found():
    def spread(dependencies):
        found, _ = run_chain(
            repeats=200, particles=100, estimators=PLAIN, dependencies=dependencies
        )
        return found.var(0)

    # The start alone puts 50^2 q into the variance of whoever does not see causes.
    assert (spread("provenance") < 0.02 * spread("plates")).all()
    # Order is all that is to be known here.
    torch.testing.assert_close(spread("provenance"), spread("order"))


def test_costs_of_unrelated_sites_are_left_out_by_provenance_alone():
    logits = parameter(0.3, -0.4)

    def program():
        a = pyro.sample("a", dist.Bernoulli(logits=logits[0]))
        pg.cost("a", a)
        b = pyro.sample("b", dist.Bernoulli(logits=logits[1]))
        pg.cost("b", 30 * b)

    def spread(dependencies):
        objective = pg.ExpectedCost(
            estimators=PLAIN, num_particles=100, dependencies=dependencies
        )
        return gradients(lambda: objective(program), [logits], 200).var(0)

    by_order, by_value = spread("order"), spread("provenance")
    assert by_value[0] < 0.02 * by_order[0]
    torch.testing.assert_close(by_value[1], by_order[1])


@pytest.mark.parametrize("baseline", [None, "moving_average"])
def test_python_control_flow(baseline):
    logit, mu = parameter(0.2), parameter(0.7)

    def program():
        a = pyro.sample("a", dist.Bernoulli(logits=logit))
        if a > 0:
            x = pyro.sample("x", dist.Normal(mu, 0.5))
            pg.cost("on", x**2)
        else:
            pg.cost("off", torch.tensor(3.0).double())

    p = torch.sigmoid(logit)
    exact = flat_gradient(p * (mu**2 + 0.25) + (1 - p) * 3, [logit, mu])
    objective = pg.ExpectedCost(
        estimators={"a": pg.estimator("score_function", baseline=baseline)},
        num_particles=10,
        vectorize_particles=False,
    )
    found = gradients(lambda: objective(program), [logit, mu], 500)
    assert_mean(found, exact, power=baseline is not None)


def test_control_flow_is_refused_where_structure_is_to_be_kept():
    def program():
        a = pyro.sample("a", dist.Bernoulli(0.5))
        pg.cost("c", torch.tensor(1.0 if a > 0 else 2.0))

    with pytest.raises(pg.PgpluginsError, match=r"static=True.*'a'.*torch\.where"):
        pg.ExpectedCost(estimators="score_function", static=True)(program)


def test_control_flow_is_refused_on_a_site_with_rows():
    def program():
        a = pyro.sample("a", dist.Bernoulli(0.5))
        pg.cost("c", torch.tensor(1.0 if a > 0 else 2.0))

    with pytest.raises(pg.PgpluginsError, match=r"'a'.*torch\.where"):
        pg.ExpectedCost(estimators="enumerate")(program)


@pytest.mark.parametrize("dependencies", ["order", "provenance"])
def test_a_cost_from_outside_torch(dependencies):
    logit = parameter(0.2)

    def program():
        a = pyro.sample("a", dist.Bernoulli(logits=logit))
        reward = float(a.detach().numpy()) * 2 + 1  # an environment
        pg.cost("c", torch.tensor(reward).double())

    objective = pg.ExpectedCost(
        estimators=pg.estimator("score_function", baseline="moving_average"),
        dependencies=dependencies,
    )
    found = gradients(lambda: objective(program), [logit], 1500)
    assert_mean(found, flat_gradient(2 * torch.sigmoid(logit), [logit]))


MIXES = [
    ("enumerate", "reparameterized"),
    ("enumerate", "score_function"),
    ("enumerate", "hybrid"),
    ("score_function", "reparameterized"),
    ("score_function", "score_function"),
    ("score_function", "hybrid"),
]


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize(("first", "second"), MIXES)
def test_a_discrete_choice_before_continuous_ones(first, second, static):
    """By enumeration over the plate's Bernoulli and the Normal's moments."""
    logits, mu, s = parameter(0.2, -0.7), parameter(0.6), parameter(0.8)

    def program():
        with pyro.plate("N", 2):
            b = pyro.sample("b", dist.Bernoulli(logits=logits))
            x = pyro.sample("x", dist.Normal(mu * (1 + b), s + b))
            pg.cost("c", (x - 2 * b + 1) ** 2 + 3 * b * x)

    def at(b):
        mean = mu * (1 + b)
        return (mean - 2 * b + 1) ** 2 + (s + b) ** 2 + 3 * b * mean

    p = torch.sigmoid(logits)
    leaves = [logits, mu, s]
    exact = flat_gradient((p * at(1) + (1 - p) * at(0)).sum(), leaves)
    objective = pg.ExpectedCost(
        estimators={"b": first, "x": second}, num_particles=2000, static=static
    )
    found = gradients(lambda: objective(program), leaves, 80)
    assert_mean(found, exact)
