"""The score function: closed-form means and variances under every kind of baseline.

``f = (x - k)^2`` with ``x ~ N(mu, s^2)`` and ``d = mu - k`` has the gradient
``(2 d, 2 s)``, and every estimator's variance in closed form.
"""

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Normal

import pgplugins as pg
from tests.statistics import (
    assert_mean,
    assert_variance,
    gradients,
    parameter,
    per_sample,
)

K, MU, S = 2.0, 0.7, 1.3
D = MU - K
PARAMETERS = [parameter(MU), parameter(S)]
EXACT = torch.tensor([2 * D, 2 * S])
MEAN = D**2 + S**2


def score(baseline):
    return pg.estimator("score_function", baseline=baseline)


def square(x):
    return (x - K) ** 2


def loss(estimator, num_samples=1):
    return lambda mu, s: pg.expectation(
        square, Normal(mu, s), estimator=estimator, num_samples=num_samples
    )


def constant(value):
    return torch.tensor(value, dtype=torch.float64)


CONSTANT_BASELINES = {
    "none": (
        None,
        D**4 / S**2 + 14 * D**2 + 15 * S**2,
        2 * D**4 / S**2 + 60 * D**2 + 74 * S**2,
    ),
    "E f": (constant(MEAN), 8 * D**2 + 10 * S**2, 40 * D**2 + 56 * S**2),
    "best for mu": (constant(D**2 + 3 * S**2), 8 * D**2 + 6 * S**2, None),
    "best for s": (constant(D**2 + 5 * S**2), None, 40 * D**2 + 24 * S**2),
}


@pytest.mark.parametrize("name", CONSTANT_BASELINES)
def test_mean_and_variance_with_a_constant_baseline(name):
    baseline, for_mu, for_s = CONSTANT_BASELINES[name]
    found = per_sample(loss(score(baseline)), PARAMETERS, 3_000_000)
    assert_mean(found, EXACT)
    for i, variance in enumerate((for_mu, for_s)):
        if variance is not None:
            assert_variance(found[:, i : i + 1], variance)


@pytest.mark.parametrize("n", [2, 3, 8])
@pytest.mark.parametrize("baseline", ["leave_one_out", "default"])
def test_variance_of_leave_one_out_on_a_bernoulli(baseline, n):
    logit, t = parameter(0.8), 0.45
    theta = torch.sigmoid(logit.detach())
    q, slope = theta * (1 - theta), 1 - 2 * t
    found = per_sample(
        lambda logit: pg.expectation(
            lambda b: (b - t) ** 2,
            Bernoulli(logits=logit),
            estimator=score(baseline),
            num_samples=n,
        ),
        [logit],
        400_000,
    )
    assert_mean(found, q * slope)
    within = q * (1 - 3 * q) - q**2 * (n - 3) / (n - 1)
    assert_variance(found, slope**2 * within / n)


def test_the_best_constant_baseline_leaves_a_bernoulli_no_variance():
    logit, t = parameter(0.8), 0.45
    theta = torch.sigmoid(logit.detach()).item()
    # (b - t)^2 is linear on {0, 1}; with this baseline f - b is D (x + theta - 1).
    best = t**2 + (1 - 2 * t) * (1 - theta)
    found = per_sample(
        lambda logit: pg.expectation(
            lambda b: (b - t) ** 2,
            Bernoulli(logits=logit),
            estimator=score(constant(best)),
        ),
        [logit],
        1000,
    )
    want = torch.full_like(found, theta * (1 - theta) * (1 - 2 * t))
    torch.testing.assert_close(found, want)


@pytest.mark.parametrize(
    "baseline",
    [
        "leave_one_out",
        "moving_average",
        "neural",
        None,
        constant(3.0),
        torch.linspace(0, 4, 8, dtype=torch.float64).unsqueeze(-1),
        nn.Linear(2, 1).double(),
    ],
    ids=["loo", "average", "neural", "none", "tensor", "per draw", "module"],
)
def test_every_baseline_leaves_the_mean_alone(baseline):
    estimator = score(baseline)
    found = per_sample(loss(estimator, num_samples=8), PARAMETERS, 200_000)
    assert_mean(found, EXACT)


def test_the_moving_average_is_read_before_it_is_updated():
    # Updated first, decay 0.9 gives exactly 0.90 of this gradient.
    logit = parameter(0.0)
    estimator = score("moving_average")
    found = gradients(
        lambda: pg.expectation(
            lambda b: b, Bernoulli(logits=logit), estimator=estimator
        ),
        [logit],
        3000,
    )
    assert_mean(found, torch.tensor(0.25))
    assert found.var() < 0.01  # 0.0625 without a baseline


def test_a_fresh_moving_average_starts_from_zero_and_then_knows_the_mean():
    estimator = score("moving_average")
    law = Normal(parameter(0.3), parameter(1.0))
    for value in (4.0, 10.0):
        pg.expectation(lambda x, v=value: 0 * x + v, law, estimator=estimator)
    # (0.9 * 0.1 * 4 + 0.1 * 10) / (0.9 * 0.1 + 0.1), without the bias of the start
    draw = estimator.draw(law)
    guess = estimator.baseline.guess(draw, torch.zeros((), dtype=torch.float64))
    assert guess.item() == pytest.approx(1.36 / 0.19)


def test_leave_one_out_does_not_see_its_own_draw():
    mu = parameter(0.0)
    law = Normal(mu, 1.0)
    torch.manual_seed(5)
    x = law.sample((4,))
    torch.manual_seed(5)
    value = pg.expectation(square, law, estimator=score("leave_one_out"), num_samples=4)
    f = square(x)
    want = torch.stack(
        [
            (f[i] - (f.sum() - f[i]) / 3) * x[i]  # the score of N(0, 1) is x
            for i in range(4)
        ]
    ).mean()
    torch.testing.assert_close(torch.autograd.grad(value, mu)[0], want)


def test_the_value_is_the_mean_cost_and_the_draws_are_detached():
    mu = parameter(0.0)
    drawn = []

    def cost(x):
        drawn.append(x)
        return square(x)

    value = pg.expectation(cost, Normal(mu, 1.0), estimator=score(None), num_samples=9)
    assert not drawn[0].requires_grad
    torch.testing.assert_close(value.detach(), square(drawn[0]).mean())


def test_parameters_of_the_cost_keep_their_direct_gradient():
    mu, weight = parameter(0.5), parameter(1.5)
    found = per_sample(
        lambda mu, w: pg.expectation(
            lambda x: (w * x - 1) ** 2,
            Normal(mu, 1.0),
            estimator=score("leave_one_out"),
            num_samples=4,
        ),
        [mu, weight],
        400_000,
    )
    # E = w^2 (mu^2 + 1) - 2 w mu + 1
    exact = torch.tensor([2 * 1.5**2 * 0.5 - 3.0, 3.0 * 1.25 - 1.0])
    assert_mean(found, exact)


@pytest.mark.parametrize(
    ("baseline", "words"),
    [
        ("leave_two_out", ["leave_two_out", "leave_one_out", "moving_average"]),
        (3.0, ["3.0", "float", "leave_one_out"]),
        (print, ["function", "Module"]),
    ],
)
def test_a_baseline_that_does_not_exist_is_refused(baseline, words):
    with pytest.raises(pg.PgpluginsError) as caught:
        score(baseline)
    assert all(word in str(caught.value) for word in words)


def test_leave_one_out_alone_is_refused():
    with pytest.raises(pg.PgpluginsError) as caught:
        loss(score("leave_one_out"))(*PARAMETERS)
    for word in ("leave_one_out", "at least 2", "num_samples", "moving_average"):
        assert word in str(caught.value)


def test_a_tensor_that_does_not_fit_the_costs_is_refused():
    with pytest.raises(pg.PgpluginsError, match=r"\(5,\).*\(8,\)"):
        loss(score(torch.zeros(5)), num_samples=8)(*PARAMETERS)
