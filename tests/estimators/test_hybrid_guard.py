"""The hybrid and costs that jump: noticed on past draws, then estimated as by lax."""

import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import Normal

import pgplugins as pg
from pgplugins.errors import DiscontinuousCostWarning
from tests.statistics import assert_mean, flat_gradient, gradients, parameter

FALSE_ALARMS = pytest.mark.filterwarnings(
    "error::pgplugins.errors.DiscontinuousCostWarning"
)


def jump(x, height=2.5, at=0.4):
    return x**2 + height * (x > at)


def exact_jump(mu, s, height=2.5, at=0.4):
    density = height * Normal(mu, s).log_prob(torch.as_tensor(at)).exp()
    return torch.stack([2 * mu + density, 2 * s + density * (at - mu) / s])


def train(estimator, steps, num_samples=32, cost=jump, mu=0.9):
    for _ in range(steps):
        leaf = parameter(mu)
        loss = pg.expectation(
            cost, Normal(leaf, 1.0), estimator=estimator, num_samples=num_samples
        )
        loss.backward()
    return estimator


def fallen(steps=300):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DiscontinuousCostWarning)
        return train(pg.estimator("hybrid"), steps)


def test_a_jump_is_noticed_and_the_estimate_is_right_from_then_on():
    estimator = pg.estimator("hybrid")
    torch.manual_seed(0)
    with pytest.warns(DiscontinuousCostWarning) as said:
        train(estimator, 300)
    assert len(said) == 1
    message = str(said[0].message)
    assert "Normal" in message and 'estimator="lax"' in message
    assert "not continuous" in estimator.fallback
    mu, s = parameter(0.9), parameter(1.0)

    def repeated(name):
        return gradients(
            lambda: pg.expectation(jump, Normal(mu, s), estimator=name, num_samples=32),
            [mu, s],
            1500,
        )

    found, score = repeated(estimator), repeated("score_function")
    assert_mean(found, exact_jump(mu, s))
    assert (found[500:].var(0) < 0.1 * score.var(0)).all()


@pytest.mark.parametrize(
    ("height", "num_samples", "calls"),
    [(10.0, 32, 130), (2.5, 32, 130), (0.5, 32, 1500), (0.25, 1000, 500),
     (10.0, 1, 2100), (2.5, 1, 4000)],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::pgplugins.errors.DiscontinuousCostWarning")
def test_how_soon_a_jump_is_noticed(height, num_samples, calls):
    # The docs quote these figures.
    torch.manual_seed(1)
    estimator = pg.estimator("hybrid")
    train(estimator, calls, num_samples, cost=lambda x: jump(x, height))
    assert estimator.fallback is not None


SMOOTH = {
    "quadratic": lambda x: (x - 2) ** 2,
    "high": lambda x: (x - 2) ** 2 + 1e6,
    "cubic": lambda x: x**3 + x,
    "kink": lambda x: (x - 0.4).abs() + x.relu(),
    "steep": lambda x: (2 * x).exp(),
    "flat": lambda x: torch.tanh(5 * x),
}


@FALSE_ALARMS
@pytest.mark.parametrize("num_samples", [1, 32])
@pytest.mark.parametrize("name", SMOOTH)
def test_no_false_alarm_while_parameters_drift(name, num_samples):
    # Chance raises an alarm in fewer than one of a million such runs where differences
    # are normal. Those of a steep cost are not: only their own tail would do it.
    estimator = pg.estimator("hybrid")
    torch.manual_seed(0)
    for t in range(3000 if num_samples == 1 else 1200):
        mu = parameter(3 * math.exp(-t / 400))
        s = parameter(0.3 + math.exp(-t / 300))
        pg.expectation(
            SMOOTH[name], Normal(mu, s), estimator=estimator, num_samples=num_samples
        ).backward()
    assert estimator.fallback is None


@FALSE_ALARMS
def test_no_false_alarm_where_batch_elements_share_a_cost():
    # Their rows hang together: as independent evidence they would count many times.
    estimator = pg.estimator("hybrid")
    torch.manual_seed(0)
    for _ in range(1500):
        mu = parameter([0.5] * 40)
        loss = pg.expectation(
            lambda x: torch.sin(x.sum(-1)) * 5 + x.sum(-1) ** 2,
            Normal(mu, 1.0),
            estimator=estimator,
        )
        loss.backward()
    assert estimator.fallback is None


@FALSE_ALARMS
def test_no_false_alarm_above_a_discrete_site_and_below_an_enumerated_one():
    mu, slope = parameter(0.5, -0.4), parameter(1.2)

    def program():
        k = pyro.sample("k", dist.Bernoulli(logits=slope))
        with pyro.plate("N", 2):
            x = pyro.sample("x", dist.Normal(mu * (1 + k), 1.0))
            b = pyro.sample("b", dist.Bernoulli(logits=slope * x))
            pg.cost("c", 3 * b * x + k * x**2)

    objective = pg.ExpectedCost(
        estimators={"k": "enumerate", "x": "hybrid", "b": "score_function"},
        num_particles=20,
        max_plate_nesting=1,
    )
    torch.manual_seed(0)
    for _ in range(600):
        objective(program).backward()
    assert objective.estimator_of("x").fallback is None


def test_an_elbo_names_the_site():
    m, log_s = parameter(0.3), parameter(-0.4)

    def model():
        z = pyro.sample("z", dist.Normal(torch.zeros(()).double(), 1.0))
        with pyro.plate("data", 2):
            pyro.sample(
                "x", dist.Normal(z + 2.0 * (z > 0.4), 1.0), obs=torch.ones(2).double()
            )

    def guide():
        pyro.sample("z", dist.Normal(m, log_s.exp()))

    z = torch.linspace(-9, 9, 400_001, dtype=torch.float64)
    q = Normal(m, log_s.exp())
    prior = Normal(torch.zeros(()).double(), 1.0)
    likelihood = Normal(z + 2.0 * (z > 0.4), 1.0).log_prob(torch.ones(()).double())
    cost = -prior.log_prob(z) - 2 * likelihood
    value = torch.trapezoid(q.log_prob(z).exp() * cost, z) - q.entropy()
    exact = flat_gradient(value, [m, log_s])

    elbo = pg.ELBO(
        estimators="hybrid",
        num_particles=32,
        vectorize_particles=True,
        max_plate_nesting=1,
    )
    torch.manual_seed(0)
    with pytest.warns(DiscontinuousCostWarning, match="site 'z'") as said:
        for _ in range(400):
            elbo.differentiable_loss(model, guide).backward()
    assert len(said) == 1
    assert elbo.estimator_of("z").fallback is not None
    found = gradients(lambda: elbo.differentiable_loss(model, guide), [m, log_s], 600)
    assert_mean(found, exact)


def test_an_expected_cost_of_several_sites_falls_back_at_one_alone():
    mu = parameter(0.9, 0.2)

    def program():
        x = pyro.sample("x", dist.Normal(mu[0], 1.0))
        y = pyro.sample("y", dist.Normal(mu[1] + x, 1.0))
        pg.cost("c", jump(x) + y**2)

    objective = pg.ExpectedCost(
        estimators="hybrid", num_particles=32, max_plate_nesting=0
    )
    torch.manual_seed(0)
    with pytest.warns(DiscontinuousCostWarning, match="site 'x'") as said:
        for _ in range(400):
            objective(program).backward()
    assert len(said) == 1
    assert objective.estimator_of("y").fallback is None
    first = exact_jump(mu[0].detach(), torch.ones(()).double())[0]
    both = 2 * mu.detach().sum()
    found = gradients(lambda: objective(program), [mu], 600)
    assert_mean(found, torch.stack([first + both, both]))


def one(estimator, seed, cost=jump):
    torch.manual_seed(seed)
    mu = parameter(0.9)
    loss = pg.expectation(cost, Normal(mu, 1.0), estimator=estimator, num_samples=8)
    return torch.autograd.grad(loss, mu)[0]


@pytest.mark.filterwarnings("error::pgplugins.errors.DiscontinuousCostWarning")
def test_a_restored_state_has_fallen_back_and_has_said_so():
    estimator = fallen()
    state = {k: v.clone() for k, v in estimator.state_dict().items()}
    other = pg.estimator("hybrid")
    other.load_state_dict(state)
    assert other.fallback == estimator.fallback
    for seed in range(20):
        assert torch.equal(one(other, seed), one(estimator, seed))
    fresh = pg.estimator("hybrid")
    other.load_state_dict(fresh.state_dict())
    assert other.fallback is None
    assert torch.equal(one(other, 5), one(fresh, 5))


@pytest.mark.filterwarnings("ignore::pgplugins.errors.DiscontinuousCostWarning")
def test_a_restored_run_notices_at_the_same_call():
    torch.manual_seed(3)
    estimator = train(pg.estimator("hybrid"), 75)  # suspicious by now, if not sure
    assert estimator.fallback is None
    other = pg.estimator("hybrid")
    other.load_state_dict({k: v.clone() for k, v in estimator.state_dict().items()})
    when = []
    for each in (estimator, other):
        for call in range(200):
            one(each, call)
            if each.fallback is not None:
                when.append(call)
                break
    assert when[0] == when[1] > 1


@FALSE_ALARMS
def test_it_stays_where_it_is():
    estimator = fallen()
    for seed in range(200):
        one(estimator, seed, cost=lambda x: x**2)
    assert estimator.fallback is not None
    assert not estimator.draw(Normal(parameter(0.9), 1.0)).value.requires_grad


def test_a_cost_without_any_gradient_is_refused_before_that():
    with pytest.raises(pg.PgpluginsError, match="score_function"):
        one(pg.estimator("hybrid"), 0, cost=lambda x: (x > 0.4).double())
    # Afterwards no gradient of the cost is asked for.
    assert one(fallen(), 0, cost=lambda x: (x > 0.4).double()) != 0


@pytest.mark.parametrize("name", ["hybrid"])
def test_a_site_of_ten_thousand_parameters(name):
    width = 10_000

    def variance(name):
        estimator = pg.estimator(name)
        torch.manual_seed(0)
        found = []
        for _ in range(80):
            mu = torch.linspace(-0.5, 1.0, width, dtype=torch.float64).requires_grad_()
            law = torch.distributions.Independent(Normal(mu, 0.7), 1)
            loss = pg.expectation(
                lambda x: (x**4).sum(-1), law, estimator=estimator, num_samples=16
            )
            found.append(torch.autograd.grad(loss, mu)[0])
        return torch.stack(found[20:]).var(0).sum(), estimator

    found, estimator = variance(name)
    path, _ = variance("reparameterized")
    assert found < path
    assert sum(v.numel() for v in estimator.state_dict().values()) < 80 * width
    assert estimator.fallback is None
