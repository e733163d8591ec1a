"""``pg.ExpectedCost``: plates, scales, masks, particles and how costs are written."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import pgplugins as pg
from tests.statistics import assert_mean, flat_gradient, gradients, parameter

ALL = ["score_function", "reparameterized", "hybrid"]


def mean_gradient(program, leaves, exact, repeats=100, power=True, **options):
    objective = pg.ExpectedCost(**options)
    found = gradients(lambda: objective(program), leaves, repeats)
    assert_mean(found, flat_gradient(exact, leaves), power=power)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("vectorize", [True, False])
def test_particles_side_by_side_or_one_by_one(vectorize, name):
    mu = parameter(2.0)

    def program():
        x = pyro.sample("x", dist.Normal(mu, 1.0))
        pg.cost("square", x**2)
        pg.cost("line", 3 * x)

    mean_gradient(
        program,
        [mu],
        mu**2 + 3 * mu,
        repeats=60 if vectorize else 250,
        estimators=name,
        num_particles=3000 if vectorize else 6,
        vectorize_particles=vectorize,
        power=vectorize or name != "score_function",
    )


def test_the_value_is_the_sum_over_plates_and_the_mean_over_particles():
    def program():
        with pyro.plate("N", 3):
            b = pyro.sample("b", dist.Bernoulli(torch.ones(3)))
            pg.cost("in", torch.tensor([1.0, 2.0, 3.0]) * b)
            pg.cost("scalar in a plate", torch.tensor(10.0))
        pg.cost("out", torch.tensor(100.0))

    for particles in (1, 5):
        loss = pg.ExpectedCost(num_particles=particles)(program)
        assert loss.shape == ()
        assert loss.item() == pytest.approx(6 + 30 + 100)


@pytest.mark.parametrize("name", ALL)
def test_plates_nested_and_side_by_side(name):
    mu, nu = parameter(0.4, -0.3, 1.0), parameter(0.7)

    def program():
        y = pyro.sample("y", dist.Normal(nu, 1.0))
        with pyro.plate("N", 3):
            x = pyro.sample("x", dist.Normal(mu + y, 1.0))
            with pyro.plate("M", 2):
                pg.cost("inner", (x - 1) ** 2)
        with pyro.plate("L", 4):
            pg.cost("other", (y + torch.arange(4.0)) ** 2)

    exact = 2 * ((mu + nu - 1) ** 2 + 2).sum() + ((nu + torch.arange(4.0)) ** 2).sum()
    mean_gradient(
        program, [mu, nu], exact, estimators=name, num_particles=3000, repeats=60
    )


@pytest.mark.parametrize("name", ALL)
def test_a_cost_that_joins_a_plate(name):
    mu = parameter(0.4, -0.3, 1.0)

    def program():
        with pyro.plate("N", 3):
            x = pyro.sample("x", dist.Normal(mu, 1.0))
        pg.cost("joint", x.sum(-1, keepdim=True) ** 2)

    exact = mu.sum() ** 2 + 3
    mean_gradient(program, [mu], exact, estimators=name, num_particles=3000)


@pytest.mark.parametrize("name", ALL)
def test_subsampled_plates_are_scaled_up(name):
    mu = parameter(1.0)
    targets = torch.linspace(-2, 1, 10, dtype=torch.float64)

    def program():
        with pyro.plate("N", 10, subsample_size=4) as index:
            x = pyro.sample("x", dist.Normal(mu, 1.0))
            pg.cost("c", (x - targets[index]) ** 2)

    exact = ((mu - targets) ** 2).sum()
    mean_gradient(program, [mu], exact, estimators=name, num_particles=400, repeats=600)


@pytest.mark.parametrize("name", ALL)
def test_scale_and_mask_weigh_costs_and_no_scores(name):
    mu = parameter(0.4, -0.3)
    keep = torch.tensor([True, False])

    def program():
        with pyro.plate("N", 2):
            with poutine.scale(scale=7.0), poutine.mask(mask=False):
                x = pyro.sample("x", dist.Normal(mu, 1.0))
            with poutine.scale(scale=3.0), poutine.mask(mask=keep):
                pg.cost("c", (x - 2) ** 2)

    exact = 3 * (mu[0] - 2) ** 2 + 0 * mu[1]
    mean_gradient(program, [mu], exact, estimators=name, num_particles=5000)


def test_a_masked_distribution_is_drawn_from_all_the_same():
    mu = parameter(0.4)

    def program():
        x = pyro.sample("x", dist.Normal(mu, 1.0).mask(False))
        pg.cost("c", (x - 2) ** 2)

    mean_gradient(
        program, [mu], (mu - 2) ** 2, estimators="score_function", num_particles=5000
    )


def test_sequential_plates():
    mu = parameter(0.4, -0.3)

    def program():
        for i in pyro.plate("N", 2):
            x = pyro.sample(f"x{i}", dist.Normal(mu[i], 1.0))
            pg.cost(f"c{i}", (x - 2 * i) ** 2)

    exact = mu[0] ** 2 + (mu[1] - 2) ** 2
    mean_gradient(program, [mu], exact, estimators="score_function", num_particles=5000)


def test_estimators_keep_their_state_per_site():
    logits = parameter(0.0, 1.0)

    def program():
        for i in range(2):
            b = pyro.sample(f"b{i}", dist.Bernoulli(logits=logits[i]))
            pg.cost(f"c{i}", 0 * b + 10.0 ** (i + 1))

    average = pg.estimator("score_function", baseline="moving_average")
    objective = pg.ExpectedCost(estimators=average)
    for _ in range(5):
        objective(program)
    for i in range(2):
        baseline = objective.estimator_of(f"b{i}").baseline
        guess = baseline.total / baseline.weight
        assert guess.item() == pytest.approx(10.0 ** (i + 1))
    assert average.baseline.weight.item() == 0
    names = objective.state_dict()
    assert {f"site:b{i}.baseline.total" for i in range(2)} <= set(names)
    with pytest.raises(pg.PgpluginsError, match=r"'b2'.*'b0', 'b1'"):
        objective.estimator_of("b2")


def test_a_neural_baseline_is_registered_for_training():
    logit = parameter(0.0)

    def program():
        b = pyro.sample("b", dist.Bernoulli(logits=logit))
        pg.cost("c", 3 * b)

    estimator = pg.estimator("score_function", baseline="neural")
    loss = pg.ExpectedCost(estimators=estimator, num_particles=8)(program)
    stored = [n for n in pyro.get_param_store() if "network" in n]
    assert len(stored) == 4
    leaves = [pyro.get_param_store()._params[n] for n in stored]
    assert flat_gradient(loss, leaves).any()


def test_arguments_are_passed_on():
    def program(x, *, y):
        pg.cost("c", x * y)

    assert pg.ExpectedCost()(program, torch.tensor(2.0), y=3).item() == 6


def run(program, **options):
    return pg.ExpectedCost(**options)(program)


def observing():
    pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.tensor(1.0))
    pg.cost("c", torch.tensor(1.0))


def factoring():
    pyro.factor("f", torch.tensor(1.0))
    pg.cost("c", torch.tensor(1.0))


def nan():
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    pg.cost("fine", x)
    pg.cost("broken", x * float("nan"))


def flat():
    x = pyro.sample("x", dist.Normal(parameter(0.0), 1.0))
    pg.cost("c", torch.sign(x))


def misplaced():
    with pyro.plate("N", 3):
        pg.cost("c", torch.zeros(4))


def joined():
    with pyro.plate("N", 3):
        b = pyro.sample("b", dist.Bernoulli(torch.full((3,), 0.5)))
    pg.cost("joint", b.prod(-1, keepdim=True))


def imaginary():
    pg.cost("c", pyro.sample("x", dist.Normal(0.0, 1.0)) * 1j)


REFUSED = {
    "no program": (lambda: run(None), ["program", "NoneType"]),
    "complex": (lambda: run(imaginary), ["'c'", "complex", ".real"]),
    "outside a program": (
        lambda: pg.cost("r", torch.tensor(1.0)),
        ["'r'", "cost", "outside"],
    ),
    "not a tensor": (lambda: run(lambda: pg.cost("r", 1.0)), ["'r'", "1.0", "float"]),
    "no cost": (
        lambda: run(lambda: pyro.sample("a", dist.Normal(0.0, 1.0))),
        ["no cost", "pg.cost"],
    ),
    "observed": (lambda: run(observing), ["'x'", "observed", "pg.ELBO"]),
    "factor": (lambda: run(factoring), ["'f'", "observed", "pg.cost"]),
    "nan": (lambda: run(nan), ["'broken'", "nan"]),
    "flat": (lambda: run(flat, num_particles=64).backward(), ["'x'", "score_function"]),
    "flat under hybrid": (
        lambda: run(flat, num_particles=64, estimators="hybrid").backward(),
        ["'x'", '"hybrid"', "score_function"],
    ),
    "wrong plate": (lambda: run(misplaced), ["'c'", "(4,)", "(3,)"]),
    "joint cost of an enumerated plate": (
        lambda: run(joined, estimators="enumerate"),
        ["'b'", "'joint'", "'N'", "to_event"],
    ),
    "particles 0": (lambda: pg.ExpectedCost(num_particles=0), ["num_particles=0"]),
    "dependencies": (
        lambda: pg.ExpectedCost(dependencies="magic"),
        ["magic", "provenance"],
    ),
    "nesting": (
        lambda: pg.ExpectedCost(max_plate_nesting=-1),
        ["max_plate_nesting=-1"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_words(name):
    call, words = REFUSED[name]
    with pytest.raises(pg.PgpluginsError) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("over", ["event", "plate"])
@pytest.mark.parametrize("name", [*ALL, "lax"])
def test_a_sum_over_side_by_side_particles_is_refused(name, over):
    # Every particle would count the costs of all, and a baseline across particles,
    # which then agree, would leave the score function a gradient of zero.
    mu = parameter([1.0, 2.0, 3.0])

    def program():
        if over == "event":
            x = pyro.sample("x", dist.Normal(mu, 1.0).to_event(1))
        else:
            with pyro.plate("N", 3):
                x = pyro.sample("x", dist.Normal(mu, 1.0))
        pg.cost("penalty", mu.sum())  # no draw in it, so nothing is joined
        pg.cost("square", (x**2).sum())

    with pytest.raises(pg.PgpluginsError, match=r"'square'.*particle"):
        pg.ExpectedCost(estimators=name, num_particles=4)(program)
    pg.ExpectedCost(estimators=name)(program).backward()
    assert mu.grad.isfinite().all()


def test_batch_dimensions_without_a_plate_are_refused():
    mu = parameter(0.4, -0.3)

    def program():
        with pyro.plate("N", 2):
            x = pyro.sample("x", dist.Normal(mu, 1.0))
        pg.cost("swapped", x.flip(-1) ** 2)

    with pytest.raises(pg.PgpluginsError, match="swapped"):
        run(program, estimators="score_function")


def test_a_branch_with_particles_side_by_side_says_what_to_write():
    logit = parameter(0.3)

    def program():
        a = pyro.sample("a", dist.Bernoulli(logits=logit))
        pg.cost("c", torch.tensor(1.0 if a > 0 else 0.0))

    with pytest.raises(pg.PgpluginsError, match=r"'a'.*vectorize_particles=False"):
        run(program, estimators="score_function", num_particles=8)
