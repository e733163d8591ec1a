"""LAX: the score function's mean for any cost, at a fraction of its variance.

A quadratic that has seen the current draw would bias the mean; so would one whose path
is missing. Means are held to closed forms and quadrature, variances to the best
quadratic.
"""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import Independent, Normal

import pgplugins as pg
from tests.estimators.test_hybrid_families import FAMILIES
from tests.statistics import assert_mean, flat_gradient, gradients, parameter


def jump(x):
    """On N(1, 1): gradient 2 + 3 N(.5; 1, 1) = 3.056 for the mean."""
    return x**2 + 3 * (x > 0.5)


def density(c, mu, s):
    return Normal(mu, s).log_prob(torch.as_tensor(c)).exp()


def exact_jump(mu, s, height=3.0, at=0.5):
    at_jump = height * density(at, mu, s)
    return torch.stack([2 * mu + at_jump, 2 * s + at_jump * (at - mu) / s], -1)


def trajectory(estimator, steps, num_samples, batch, move=0.3, cost=jump):
    """Gradients plus what the truth moved, along a parameter that moves."""
    found, start = [], exact_jump(*parameter(1.0, 1.0).detach())
    torch.manual_seed(0)
    for t in range(steps):
        shift = move * math.sin(t / 30)
        mu = parameter([1 + shift] * batch)
        s = parameter([1 - shift / 2] * batch)
        loss = pg.expectation(
            cost, Normal(mu, s), estimator=estimator, num_samples=num_samples
        )
        got = torch.stack(torch.autograd.grad(loss.sum(), [mu, s]), -1)
        found.append((got - exact_jump(mu.detach(), s.detach())).mean(0) + start)
    return torch.stack(found), start


@pytest.mark.parametrize(
    ("num_samples", "batch", "steps"),
    [(1, 1, 2500), (1, 16, 800), (2, 8, 800), (16, 1, 800)],
)
def test_unbiased_at_a_jump_along_a_moving_parameter(num_samples, batch, steps):
    found, exact = trajectory(pg.estimator("lax"), steps, num_samples, batch)
    assert_mean(found, exact, power=batch * num_samples > 1)


@pytest.mark.parametrize("num_samples", [1, 3])
@pytest.mark.parametrize("call", [1, 3, 6])
def test_unbiased_at_every_early_call(call, num_samples):
    # Rows of the current batch weigh most in the coefficients while the past is short.
    torch.manual_seed(call)
    found = []
    for _ in range(150):
        estimator = pg.estimator("lax")
        for t in range(call + 1):
            mu, s = parameter([1.0] * 8), parameter([1.0] * 8)
            loss = pg.expectation(
                lambda x: x**2, Normal(mu, s), estimator=estimator,
                num_samples=num_samples,
            )  # fmt: skip
            got = torch.autograd.grad(loss.sum(), [mu, s])
            if t == call:
                found.append(torch.stack(got, -1).mean(0))
    assert_mean(torch.stack(found), torch.tensor([2.0, 2.0]), power=False)


def scaled_variance(name, num_samples, free_scale, batch=1, level=0.0):
    """``num_samples`` times the variance of a gradient, once it has learnt."""
    estimator = pg.estimator(name)
    torch.manual_seed(0)
    found = []
    for _ in range(600):
        mu, s = parameter([1.0] * batch), parameter([1.0] * batch)
        s.requires_grad_(free_scale)
        loss = pg.expectation(
            lambda x: jump(x) + level, Normal(mu, s), estimator=estimator,
            num_samples=num_samples,
        )  # fmt: skip
        leaves = [mu, s] if free_scale else [mu]
        found.append(torch.stack(torch.autograd.grad(loss.sum(), leaves), -1))
    return num_samples * torch.cat(found[200:]).var(0)


@pytest.mark.parametrize("level", [0.0, 1e6])
@pytest.mark.parametrize(("num_samples", "batch"), [(1, 32), (2, 16), (32, 1)])
def test_variance_near_that_of_the_best_quadratic(num_samples, batch, level):
    # .258 with the best constant, linear and quadratic parts: normal equations over
    # two million draws. Leave-one-out has 22.5.
    found = scaled_variance("lax", num_samples, False, batch, level)
    assert 0.2 < found.item() < 0.36


def test_one_quadratic_serves_all_parameters():
    # Fitted to the cost itself, not to the variance, it has 3.1 and 18.0; without the
    # scores, which explain the noise of its path, .3 and 7.4.
    found = scaled_variance("lax", 1, True, 32)
    assert 0.2 < found[0] < 0.45
    assert found[1] < 1.5


def test_costs_at_different_levels_side_by_side():
    # The other particles of the same element know its level, the pooled past does not.
    levels = torch.linspace(-100, 100, 16, dtype=torch.float64)
    found = scaled_variance("lax", 8, False, 16, levels)
    score = scaled_variance("score_function", 8, False, 16, levels)
    assert found < 0.1 * score


def test_it_begins_as_the_score_function():
    def first(name):
        mu, s = parameter(0.7), parameter(1.2)
        torch.manual_seed(4)
        loss = pg.expectation(jump, Normal(mu, s), estimator=name, num_samples=3)
        return flat_gradient(loss, [mu, s])

    torch.testing.assert_close(first("lax"), first("score_function"))


@pytest.mark.parametrize("name", FAMILIES)
def test_families(name):
    start, law, cost, exact = FAMILIES[name]
    p = parameter(list(start))
    truth = torch.autograd.grad(exact(p), p)[0]
    estimator, found = pg.estimator("lax"), []
    torch.manual_seed(0)
    for _ in range(300):
        p = parameter(list(start)).detach().expand(64, -1).clone().requires_grad_()
        loss = pg.expectation(cost, law(p), estimator=estimator)
        found.append(torch.autograd.grad(loss.sum(), p)[0].mean(0))
    found = torch.stack(found)
    assert_mean(found, truth, power=False)
    error = (found.var(0).sum() / len(found)).sqrt()
    assert 0.1 * truth.norm() > 4 * error


def cauchy_gradients(name):
    estimator, found = pg.estimator(name), []
    torch.manual_seed(0)
    for _ in range(800):
        loc = parameter([0.3] * 64)
        law = torch.distributions.Cauchy(loc, torch.full_like(loc, 1.2))
        loss = pg.expectation(
            lambda x: 4 * (x > 0.5).double() + x.abs().sqrt(), law, estimator=estimator
        )
        found.append(torch.autograd.grad(loss.sum(), loc)[0].mean().reshape(1))
    return torch.stack(found)


def test_heavy_tails():
    # A Cauchy has no mean, and raw monomials would have none either.
    found = cauchy_gradients("lax")
    z = torch.tan(math.pi * ((torch.arange(400_000).double() + 0.5) / 400_000 - 0.5))
    x = 0.3 + 1.2 * z
    score = 2 * (x - 0.3) / (1.2**2 + (x - 0.3) ** 2)
    truth = ((4 * (x > 0.5).double() + x.abs().sqrt()) * score).mean()
    assert_mean(found, truth.reshape(1))
    score = cauchy_gradients("score_function")
    assert found[200:].var() < 0.2 * score[200:].var()


def test_a_cost_from_outside_torch():
    def outside(x):
        return torch.from_numpy(np.floor(x.numpy()) ** 2)

    z = torch.linspace(-10, 11, 200_001, dtype=torch.float64)
    score = z - 1.4
    truth = torch.trapezoid(density(z, 1.4, 1.0) * score * torch.floor(z) ** 2, z)
    estimator = pg.estimator("lax")
    mu = parameter(1.4)
    found = gradients(
        lambda: pg.expectation(
            outside, Normal(mu, 1.0), estimator=estimator, num_samples=64
        ),
        [mu],
        400,
    )
    assert_mean(found, truth)


@pytest.mark.parametrize("other", ["score_function", "reparameterized", "lax"])
@pytest.mark.parametrize("first", [True, False], ids=["above", "below"])
def test_sites_above_and_below(first, other):
    # y ~ N(x w, .7), cost (y - 1)^2 + 2 [x + y > 1] + w x: all of it by quadrature.
    mu, w = parameter(0.5), parameter(0.8)
    names = ("lax", other) if first else (other, "lax")
    # A jump in a site that is pathwise would bias it.
    heights = {"x": 0.0 if names[0] == "reparameterized" else 2.0,
               "y": 0.0 if names[1] == "reparameterized" else 2.0}  # fmt: skip

    def cost(x, y):
        return (
            (y - 1) ** 2 + w * x + heights["x"] * (x > 0.3) + heights["y"] * (y > 0.2)
        )

    def program():
        x = pyro.sample("x", dist.Normal(mu, 1.0))
        y = pyro.sample("y", dist.Normal(x * w, 0.7))
        pg.cost("c", cost(x, y))

    x = torch.linspace(-9, 9, 180_001, dtype=torch.float64)
    # Over y by closed form.
    tail = 1 - Normal(x * w, 0.7).cdf(torch.tensor(0.2, dtype=torch.float64))
    inner = (x * w - 1) ** 2 + 0.49 + w * x
    inner = inner + heights["x"] * (x > 0.3) + heights["y"] * tail
    value = torch.trapezoid(Normal(mu, 1.0).log_prob(x).exp() * inner, x)
    leaves = [mu, w]
    exact = flat_gradient(value, leaves)
    objective = pg.ExpectedCost(
        estimators=dict(zip("xy", names, strict=True)),
        num_particles=1000,
        max_plate_nesting=0,
    )
    assert_mean(gradients(lambda: objective(program), leaves, 300), exact)


def test_below_an_enumerated_site_and_above_a_discrete_one():
    logit, mu, slope = parameter(0.3), parameter(0.5, -0.4), parameter(1.2)

    def program():
        k = pyro.sample("k", dist.Bernoulli(logits=logit))
        with pyro.plate("N", 2):
            x = pyro.sample("x", dist.Normal(mu * (1 + k), 1.0))
            b = pyro.sample("b", dist.Bernoulli(logits=slope * x))
            pg.cost("c", 3 * b + (x > 0.2) * (1 + k))

    z = torch.linspace(-12, 12, 40_001, dtype=torch.float64)
    p = torch.sigmoid(logit)
    total = 0.0
    for k, weight in ((0.0, 1 - p), (1.0, p)):
        for n in range(2):
            law = Normal(mu[n] * (1 + k), 1.0)
            tail = 1 - law.cdf(torch.tensor(0.2, dtype=torch.float64))
            smooth = torch.trapezoid(
                law.log_prob(z).exp() * 3 * torch.sigmoid(slope * z), z
            )
            total = total + weight * (smooth + tail * (1 + k))
    leaves = [logit, mu, slope]
    exact = flat_gradient(total, leaves)
    objective = pg.ExpectedCost(
        estimators={"k": "enumerate", "x": "lax", "b": "score_function"},
        num_particles=300,
        max_plate_nesting=1,
    )
    assert_mean(gradients(lambda: objective(program), leaves, 300), exact)


@pytest.mark.parametrize("vectorize", [True, False])
def test_in_an_elbo(vectorize):
    m, log_s = parameter(0.3), parameter(-0.2)
    target = Normal(torch.tensor(1.0, dtype=torch.float64), 0.5)

    def model():
        pyro.sample("z", dist.Normal(torch.tensor(1.0).double(), 0.5))

    def guide():
        pyro.sample("z", dist.Normal(m, log_s.exp()))

    exact = flat_gradient(
        torch.distributions.kl_divergence(Normal(m, log_s.exp()), target), [m, log_s]
    )
    elbo = pg.ELBO(
        estimators="lax",
        num_particles=16 if vectorize else 4,
        vectorize_particles=vectorize,
        max_plate_nesting=0,
    )
    found = gradients(lambda: elbo.differentiable_loss(model, guide), [m, log_s], 800)
    assert_mean(found, exact)
    # The cost is a quadratic, and the scores explain the noise of its path.
    assert found[500:].std(0).max() < 0.05 * exact.norm()


def test_transforms_with_parameters_of_their_own():
    shift, scale = parameter(0.4), parameter(1.3)
    estimator = pg.estimator("lax")

    def law():
        base = Normal(torch.zeros((), dtype=torch.float64), 1.0)
        affine = torch.distributions.AffineTransform(shift, scale)
        return torch.distributions.TransformedDistribution(base, [affine])

    found = gradients(
        lambda: pg.expectation(jump, law(), estimator=estimator, num_samples=64),
        [shift, scale],
        600,
    )
    assert_mean(found, exact_jump(shift.detach(), scale.detach()))


def test_a_cost_that_is_not_finite_does_not_spoil_the_state():
    estimator = pg.estimator("lax")
    trajectory(estimator, 50, 4, 8, move=0.0)
    with pytest.raises(pg.PgpluginsError, match="nan"):
        trajectory(estimator, 1, 4, 8, cost=lambda x: x.log())
    draw = estimator.draw(Normal(parameter([1.0] * 8), 1.0))
    spoilt = torch.full((1, 8), 1.0).double()
    spoilt[0, 3] = math.inf
    estimator.gradient_term(draw, spoilt)
    estimator.update(draw, spoilt)
    assert all(v.isfinite().all() for v in estimator.state_dict().values())
    after, _ = trajectory(estimator, 100, 4, 8, move=0.0)
    assert after.isfinite().all()


def shapes(estimator):
    return {k: tuple(v.shape) for k, v in estimator.state_dict().items()}


@pytest.mark.parametrize("width", [2, 40])
def test_state(width):
    def call(estimator, batch, n):
        mu = torch.full((*batch, width), 0.8, dtype=torch.float64, requires_grad=True)
        law = Independent(Normal(mu, 1.0), 1)
        loss = pg.expectation(
            lambda x: jump(x).sum(-1), law, estimator=estimator, num_samples=n
        )
        return torch.autograd.grad(loss.sum(), mu)[0]

    estimator = pg.estimator("lax")
    seen = []
    for batch, n in [((40,), 8), ((3,), 32), ((), 64), ((2, 5), 3), ((1,), 1)]:
        for _ in range(8):
            call(estimator, batch, n)
        seen.append(shapes(estimator))
    assert all(s == seen[0] for s in seen[1:])
    other = pg.estimator("lax")
    other.load_state_dict({k: v.clone() for k, v in estimator.state_dict().items()})
    for t in range(10):
        torch.manual_seed(t)
        want = call(estimator, (4,), 8)
        torch.manual_seed(t)
        assert torch.equal(call(other, (4,), 8), want)
        torch.manual_seed(t)
        assert not torch.allclose(call(pg.estimator("lax"), (4,), 8), want)


def test_no_element_sees_the_current_draw_of_another():
    estimator = pg.estimator("lax")
    trajectory(estimator, 60, 4, 8, move=0.0)
    state = {k: v.clone() for k, v in estimator.state_dict().items()}

    def gradient(scale_of_others):
        again = pg.estimator("lax")
        again.load_state_dict(state)
        mu = parameter([1.0] * 6)
        factor = torch.full((6,), scale_of_others).double()
        factor[2] = 1.0
        torch.manual_seed(9)
        loss = pg.expectation(
            lambda x: factor * jump(x), Normal(mu, 1.0), estimator=again, num_samples=2
        )
        return torch.autograd.grad(loss.sum(), mu)[0]

    torch.testing.assert_close(gradient(1.0)[2], gradient(50.0)[2])
    assert not torch.allclose(gradient(1.0)[3], gradient(50.0)[3])


def wide_variance(name, width, cost, steps=150, num_samples=16):
    estimator = pg.estimator(name)
    torch.manual_seed(0)
    found = []
    for _ in range(steps):
        mu = torch.linspace(-0.5, 1.0, width, dtype=torch.float64).requires_grad_()
        law = Independent(Normal(mu, 0.7), 1)
        loss = pg.expectation(cost, law, estimator=estimator, num_samples=num_samples)
        found.append(torch.autograd.grad(loss, mu)[0])
    return torch.stack(found[20:]).var(0).sum(), estimator


def test_a_site_of_ten_thousand_parameters():
    width = 10_000
    found, estimator = wide_variance("lax", width, lambda x: jump(x).sum(-1))
    score, _ = wide_variance("score_function", width, lambda x: jump(x).sum(-1))
    assert found < 1.05 * score
    assert sum(v.numel() for v in estimator.state_dict().values()) < 10 * width


def test_coordinates_are_fitted_where_products_are_too_many():
    found, _ = wide_variance("lax", 50, lambda x: jump(x).sum(-1), steps=600)
    score, _ = wide_variance("score_function", 50, lambda x: jump(x).sum(-1), steps=600)
    # What the jumps add to the parabolas is left.
    assert found < 0.3 * score


def test_a_loss_can_be_evaluated_without_gradients():
    mu = parameter(0.4)
    with torch.no_grad():
        torch.manual_seed(0)
        value = pg.expectation(jump, Normal(mu, 1.0), estimator="lax", num_samples=4)
        torch.manual_seed(0)
        x = Normal(mu, 1.0).sample((4,))
    assert value.item() == pytest.approx(jump(x).mean().item())


def test_single_precision():
    estimator = pg.estimator("lax")
    for _ in range(40):
        mu = torch.full((8,), 1.0, requires_grad=True)
        loss = pg.expectation(jump, Normal(mu, 1.0), estimator=estimator, num_samples=4)
        (got,) = torch.autograd.grad(loss.sum(), mu)
    assert got.dtype == torch.float32
    assert (got - 3.056).abs().max() < 2.0
