"""``pg.expectation``: shapes, defaults, learning, and every refusal in words."""

import math

import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pgplugins as pg
from tests.statistics import assert_mean, flat_gradient, gradients, parameter

MU = parameter([[0.3, -0.2, 0.5], [1.0, 0.4, -0.7]])
SQUARES = {
    # What the cost keeps of a batch (2, 3) -> (cost, exact expectation)
    "all": (lambda x: (x - 1) ** 2, lambda m: (m - 1) ** 2 + 1),
    "last": (lambda x: x.sum(-2) ** 2, lambda m: m.sum(-2) ** 2 + 2),
    "none": (
        lambda x: x.sum((-1, -2)) ** 2,
        lambda m: m.sum() ** 2 + 6,
    ),
}


@pytest.mark.parametrize("name", ["score_function", "reparameterized", "hybrid"])
@pytest.mark.parametrize("kept", SQUARES)
def test_a_cost_may_sum_over_leading_batch_dimensions(kept, name):
    cost, exact = SQUARES[kept]
    estimator = pg.estimator(name)

    def loss():
        law = dist.Normal(MU, 1.0)
        return pg.expectation(cost, law, estimator=estimator, num_samples=500)

    truth = exact(MU)
    assert loss().shape == truth.shape
    found = gradients(loss, [MU], 300)
    assert_mean(found, flat_gradient(truth.sum(), [MU]), power=kept != "all")
    values = torch.stack([loss().detach().flatten() for _ in range(200)])
    assert_mean(values, truth)


@pytest.mark.parametrize("name", ["score_function", "reparameterized"])
def test_events_and_batches_together(name):
    law = dist.Normal(MU, 1.0).to_event(1)
    found = gradients(
        lambda: pg.expectation(
            lambda x: x.prod(-1), law, estimator=name, num_samples=20_000
        ),
        [MU],
        60,
    )
    assert_mean(found, flat_gradient(MU.prod(-1).sum(), [MU]))


@settings(deadline=None, max_examples=25)
@given(
    batch=st.lists(st.integers(1, 3), max_size=3).map(tuple),
    event=st.integers(0, 2),
    summed=st.integers(0, 3),
    n=st.integers(1, 3),
    name=st.sampled_from(["score_function", "reparameterized", "hybrid"]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_the_value_is_the_mean_over_draws_for_all_shapes(
    batch, event, summed, n, name, dtype
):
    summed = min(summed, len(batch))
    mu = torch.zeros((*batch, *(2,) * event), dtype=dtype, requires_grad=True)
    seen = []

    def cost(x):
        assert x.shape == (n, *batch, *(2,) * event)
        value = (x**2).flatten(1 + len(batch)).sum(-1) if event else x**2
        value = value.flatten(1, summed).sum(1) if summed else value
        seen.append(value.detach())
        return value

    law = dist.Normal(mu, torch.ones((), dtype=dtype)).to_event(event)
    found = pg.expectation(cost, law, estimator=name, num_samples=n)
    assert found.dtype == dtype
    torch.testing.assert_close(found.detach(), seen[0].mean(0))
    assert torch.autograd.grad(found.sum(), mu)[0].shape == mu.shape


def test_plain_torch_distributions_are_taken():
    mu = parameter(0.3)
    law = torch.distributions.Normal(mu, 1.0)
    found = gradients(
        lambda: pg.expectation(lambda x: (x - 2) ** 2, law, num_samples=5000), [mu], 50
    )
    assert_mean(found, torch.tensor(2 * (0.3 - 2)))


def test_the_default_is_pathwise_where_there_is_rsample_else_score():
    def attached(law):
        seen = []
        pg.expectation(lambda x: seen.append(x) or x * 1.0, law, num_samples=2)
        return seen[0].requires_grad

    assert attached(dist.Normal(parameter(0.1), 1.0))
    assert not attached(dist.Bernoulli(logits=parameter(0.1)))
    assert not attached(pg.wrap(dist.Normal(parameter(0.1), 1.0), "score_function"))


def test_a_class_is_taken_as_well():
    cls = type(pg.estimator("enumerate"))
    value = pg.expectation(
        lambda b: 2 * b, dist.Bernoulli(parameter(0.3)), estimator=cls
    )
    assert value.item() == pytest.approx(0.6)


def test_an_instance_learns_from_call_to_call_and_a_name_does_not():
    law = dist.Bernoulli(logits=parameter(0.0))
    estimator = pg.estimator("score_function", baseline="moving_average")
    for _ in range(3):
        pg.expectation(lambda b: 0 * b + 5.0, law, estimator=estimator)
    loss = pg.expectation(lambda b: 0 * b + 5.0, law, estimator=estimator)
    assert loss.item() == 5.0
    (gradient,) = torch.autograd.grad(loss, law.logits)
    assert gradient.abs().item() < 1e-6  # the guess is exact by now
    fresh = pg.expectation(lambda b: 0 * b + 5.0, law, estimator="score_function")
    (gradient,) = torch.autograd.grad(fresh, law.logits)
    assert gradient.abs().item() == pytest.approx(2.5)


def test_no_cost_is_refused_for_being_constant():
    mu, w = parameter(0.1, 0.2), parameter(1.0, 3.0)
    law = dist.Normal(mu, 1.0)
    for name in ("reparameterized", "hybrid"):
        value = pg.expectation(torch.ones_like, law, estimator=name, num_samples=8)
        assert torch.equal(value, torch.ones(2, dtype=torch.float64))
        value = pg.expectation(
            lambda x: w.expand(x.shape), law, estimator=name, num_samples=8
        )
        (gradient,) = torch.autograd.grad(value.sum(), w)
        assert torch.equal(gradient, torch.ones(2, dtype=torch.float64))


FLAT = {
    "compare": lambda x: (x > 0).double(),
    "round": torch.round,
    "sign": lambda x: torch.sign(x) * 2,
    "where": lambda x: torch.where(x > 0, 1 + 0 * x, 0 * x),
    "detach": lambda x: x.detach() ** 2,
}


@pytest.mark.parametrize("name", ["reparameterized", "hybrid", None])
@pytest.mark.parametrize("flat", FLAT)
def test_a_flat_cost_is_refused_before_or_in_backward(flat, name):
    mu = parameter(0.0)
    with pytest.raises(pg.PgpluginsError) as caught:
        pg.expectation(
            FLAT[flat], dist.Normal(mu, 1.0), estimator=name, num_samples=256
        ).backward()
    for word in ("Normal", "score_function", "zero"):
        assert word in str(caught.value)
    assert mu.grad is None


def square(x):
    return (x - 1) ** 2


def normal():
    return dist.Normal(parameter(0.3), 1.0)


def bernoulli():
    return dist.Bernoulli(logits=parameter(0.3))


E = pg.expectation
REFUSED = {
    "a complex cost": (
        lambda: E(lambda x: x.to(torch.complex64), normal()),
        ["complex64", ".real"],
    ),
    "a baseline of nan": (
        lambda: pg.estimator("score_function", baseline=torch.tensor([1.0, math.nan])),
        ["baseline", "nan", "1 of 2"],
    ),
    "unknown estimator": (
        lambda: E(square, normal(), estimator="score_functoin"),
        ["score_functoin", "score_function"],
    ),
    "pathwise on Bernoulli": (
        lambda: E(square, bernoulli(), estimator="reparameterized"),
        ["Bernoulli", "rsample", "enumerate"],
    ),
    "hybrid on Bernoulli": (
        lambda: E(square, bernoulli(), estimator="hybrid"),
        ["Bernoulli", "hybrid"],
    ),
    "enumerate on Normal": (
        lambda: E(square, normal(), estimator="enumerate"),
        ["Normal", "enumerate", "reparameterized"],
    ),
    "samples 0": (lambda: E(square, normal(), num_samples=0), ["num_samples=0"]),
    "samples -3": (lambda: E(square, normal(), num_samples=-3), ["num_samples=-3"]),
    "samples 2.5": (lambda: E(square, normal(), num_samples=2.5), ["num_samples=2.5"]),
    "samples True": (lambda: E(square, normal(), num_samples=True), ["num_samples"]),
    "cost is a float": (
        lambda: E(lambda x: 1.0, normal(), num_samples=4),
        ["cost", "float", "(4,)"],
    ),
    "cost of a wrong size": (
        lambda: E(lambda x: torch.zeros(7), normal(), num_samples=4),
        ["cost", "(7,)", "(4,)"],
    ),
    "cost summed over draws": (
        lambda: E(lambda x: x.sum(), normal(), num_samples=4),
        ["cost", "()", "(4,)"],
    ),
    "cost of a wrong batch": (
        lambda: E(
            lambda x: torch.zeros(4, 2),
            dist.Normal(parameter(0.0, 0.0, 0.0), 1.0),
            num_samples=4,
        ),
        ["(4, 2)", "(4, 3)", "leading"],
    ),
    "cost with a dimension too many": (
        lambda: E(lambda x: x.unsqueeze(-1), normal(), num_samples=4),
        ["(4, 1)", "(4,)"],
    ),
    "cost is nan": (
        lambda: E(lambda x: x * float("nan"), normal(), num_samples=4),
        ["cost", "nan", "4 of 4"],
    ),
    "cost is infinite": (
        lambda: E(lambda x: x / 0, normal(), num_samples=4),
        ["cost", "infinite"],
    ),
    "not a distribution": (
        lambda: E(square, torch.zeros(3)),
        ["distribution", "Tensor"],
    ),
    "not a function": (lambda: E(torch.zeros(3), normal()), ["function", "Tensor"]),
    "arguments swapped": (lambda: E(normal(), square), ["distribution", "function"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_words(name):
    call, words = REFUSED[name]
    with pytest.raises(pg.PgpluginsError) as caught:
        call()
    assert isinstance(caught.value, (ValueError, TypeError))
    assert all(word in str(caught.value) for word in words), str(caught.value)


class Crooked(pg.Estimator):
    name = "crooked"
    traits = pg.Traits(unbiased=True, needs=frozenset({"log_prob"}))

    def __init__(self, drawn, term):
        super().__init__()
        self.drawn, self.term = drawn, term

    def draw(self, dist):
        return self.drawn(dist)

    def gradient_term(self, draw, cost):
        return self.term(draw, cost)


@pytest.mark.parametrize(
    ("drawn", "term", "words"),
    [
        (lambda d: d.sample(), None, ["Crooked", "Tensor", "pg.Draw"]),
        (
            lambda d: pg.Draw(dist=d, value=d.sample()),
            None,
            ["Crooked", "(4,)", "rows"],
        ),
        (
            lambda d: pg.Draw(dist=d, value=d.sample().unsqueeze(0)),
            lambda draw, cost: cost.sum(),
            ["Crooked", "()", "(4,)"],
        ),
    ],
)
def test_an_estimator_that_breaks_the_contract_is_named(drawn, term, words):
    with pytest.raises(pg.PgpluginsError) as caught:
        E(square, normal(), estimator=Crooked(drawn, term), num_samples=4)
    assert all(word in str(caught.value) for word in words)


def test_counts_and_comparisons_are_costs():
    logits = torch.zeros(3, requires_grad=True)
    for cost in (lambda x: x, lambda x: x == 1):
        torch.manual_seed(0)
        law = torch.distributions.Categorical(logits=logits)
        loss = pg.expectation(cost, law, estimator="enumerate")
        exact = (law.probs * cost(torch.arange(3)).to(law.probs)).sum()
        assert loss.item() == pytest.approx(exact.item())
        score = pg.expectation(
            cost, law, estimator="score_function", num_samples=200_000
        )
        (found,) = torch.autograd.grad(score, logits, retain_graph=True)
        (wanted,) = torch.autograd.grad(exact, logits, retain_graph=True)
        torch.testing.assert_close(found, wanted, rtol=0.1, atol=0.005)


def test_a_gradient_term_that_is_not_zero_is_refused():
    class FirstTry(pg.Estimator):
        name = "first_try"
        traits = pg.Traits(unbiased=True, needs=["log_prob"])

        def draw(self, dist):
            return pg.Draw(dist=dist, value=dist.sample().unsqueeze(0))

        def gradient_term(self, draw, cost):
            return (cost.detach() * draw.log_prob)[0]

    law = torch.distributions.Normal(torch.tensor(0.0, requires_grad=True), 1.0)
    with pytest.raises(pg.PgpluginsError, match=r"FirstTry.*not zero"):
        pg.expectation(lambda x: x**2 + 5, law, estimator=FirstTry())
