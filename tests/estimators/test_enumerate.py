"""Enumeration: exact, over whatever support there is."""

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pgplugins as pg
from tests.statistics import parameter


def enumerated(cost, law, **options):
    return pg.expectation(cost, law, estimator="enumerate", **options)


def agree(value, exact, parameters):
    torch.testing.assert_close(value, exact)
    got = torch.autograd.grad(value.sum(), parameters)
    want = torch.autograd.grad(exact.sum(), parameters)
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w)


@settings(deadline=None, max_examples=20)
@given(
    batch=st.sampled_from([(), (3,), (2, 3)]),
    num_samples=st.integers(1, 3),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_bernoulli_of_any_batch(batch, num_samples, dtype):
    logits = torch.randn(batch, dtype=dtype, requires_grad=True)
    value = enumerated(
        lambda b: (b - 0.3) ** 2, dist.Bernoulli(logits=logits), num_samples=num_samples
    )
    assert value.dtype == dtype
    p = torch.sigmoid(logits)
    agree(value, p * 0.7**2 + (1 - p) * 0.3**2, [logits])


def test_categorical():
    logits = parameter(0.3, -0.2, 0.9, 0.0)
    payoff = torch.tensor([1.0, -2.0, 0.5, 4.0], dtype=torch.float64)
    value = enumerated(lambda x: payoff[x], dist.Categorical(logits=logits))
    agree(value, (torch.softmax(logits, -1) * payoff).sum(), [logits])


def test_one_hot_categorical_with_a_batch():
    logits = parameter([[0.3, -0.2, 0.9], [1.0, 0.0, -1.0]])
    payoff = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    value = enumerated(lambda x: x @ payoff, dist.OneHotCategorical(logits=logits))
    agree(value, torch.softmax(logits, -1) @ payoff, [logits])


def test_binomial():
    p = parameter(0.3, 0.8)
    value = enumerated(lambda k: k**3, dist.Binomial(5, p))
    n = 5  # E k^3 = n(n-1)(n-2) p^3 + 3 n(n-1) p^2 + n p
    exact = n * (n - 1) * (n - 2) * p**3 + 3 * n * (n - 1) * p**2 + n * p
    agree(value, exact, [p])


def product_sum(ps, f):
    total = 0.0
    for point in itertools.product([0.0, 1.0], repeat=ps.shape[-1]):
        x = torch.tensor(point, dtype=torch.float64)
        mass = torch.where(x > 0, ps, 1 - ps).prod(-1)
        total = total + mass * f(x)
    return total


def test_the_product_space_of_to_event():
    logits = parameter([[0.3, -0.2, 0.9], [1.0, 0.0, -1.0]])

    def f(x):
        return (x.sum(-1) - 1.3) ** 2 * (1 + x[..., 0])

    value = enumerated(f, dist.Bernoulli(logits=logits).to_event(1))
    agree(value, product_sum(torch.sigmoid(logits), f), [logits])


def test_the_product_space_of_a_matrix_and_of_nested_to_event():
    logits = parameter([[0.3, -0.2], [1.0, 0.0]])

    def f(x):
        return torch.linalg.det(x + 0.5 * torch.eye(2, dtype=torch.float64))

    base = dist.Bernoulli(logits=logits)
    for law in (base.to_event(2), base.to_event(1).to_event(1)):
        p = torch.sigmoid(logits).flatten()
        want = product_sum(p, lambda x: f(x.reshape(2, 2)))
        agree(enumerated(f, law), want, [logits])


def test_the_product_of_one_hot_vectors():
    logits = parameter([[0.3, -0.2, 0.4], [1.0, 0.0, -0.7]])
    p = torch.softmax(logits, -1)
    score = torch.arange(9.0, dtype=torch.float64).reshape(3, 3) ** 2

    def f(x):  # (*, 2, 3)
        return ((x[..., 0, :] @ score) * x[..., 1, :]).sum(-1)

    law = dist.OneHotCategorical(logits=logits).to_event(1)
    agree(enumerated(f, law), p[0] @ score @ p[1], [logits])


def test_torchs_own_independent():
    logits = parameter(0.3, -0.2)
    law = torch.distributions.Independent(
        torch.distributions.Bernoulli(logits=logits), 1
    )
    agree(enumerated(lambda x: x.prod(-1), law), torch.sigmoid(logits).prod(), [logits])


def test_parameters_of_the_cost():
    logit, w = parameter(0.4), parameter(2.0)
    value = enumerated(lambda b: (w * b + 1) ** 2, dist.Bernoulli(logits=logit))
    p = torch.sigmoid(logit)
    agree(value, p * (w + 1) ** 2 + 1 - p, [logit, w])


def test_a_masked_distribution_is_enumerated_whole():
    logit = parameter(0.4)
    value = enumerated(lambda b: 3 * b, dist.Bernoulli(logits=logit).mask(False))
    agree(value, 3 * torch.sigmoid(logit), [logit])


def test_a_support_that_is_too_large_is_refused_with_its_size():
    law = dist.Bernoulli(logits=parameter(0.1).expand(40)).to_event(1)
    with pytest.raises(pg.PgpluginsError) as caught:
        enumerated(lambda b: b.sum(-1), law)
    for word in ("enumerate", "2^40", "1099511627776", "max_rows=16384"):
        assert word in str(caught.value)


def test_the_limit_can_be_moved():
    law = dist.Bernoulli(logits=parameter(0.1).expand(3)).to_event(1)
    with pytest.raises(pg.PgpluginsError, match=r"2\^3 = 8 points.*max_rows=7"):
        pg.expectation(
            lambda b: b.sum(-1), law, estimator=pg.estimator("enumerate", max_rows=7)
        )
    estimator = pg.estimator("enumerate", max_rows=8)
    value = pg.expectation(lambda b: b.sum(-1), law, estimator=estimator)
    assert value.item() == pytest.approx(3 * torch.sigmoid(torch.tensor(0.1)).item())


@pytest.mark.parametrize("limit", [0, -1, 2.5, "many", True])
def test_a_limit_that_is_no_count_is_refused(limit):
    with pytest.raises(pg.PgpluginsError, match="max_rows"):
        pg.estimator("enumerate", max_rows=limit)


def test_a_draw_beyond_the_limit_is_refused_as_well():
    law = dist.Bernoulli(logits=parameter(0.1).expand(20)).to_event(1)
    with pytest.raises(pg.PgpluginsError, match=r"2\^20 = 1048576"):
        pg.estimator("enumerate").draw(law)


def test_a_cost_that_joins_batch_elements_is_refused():
    law = dist.Bernoulli(logits=parameter(0.1, 0.2))
    with pytest.raises(pg.PgpluginsError, match=r"to_event\(1\)"):
        enumerated(lambda b: b.prod(-1), law)


def nested_plates(estimator, particles):
    """A decoder in the inner plate, a choice in the outer one, both enumerated."""
    torch.manual_seed(0)
    outer, inner = torch.randn(2, dtype=torch.float64), torch.randn(3, 2, 2).double()
    weight, seen = parameter([[0.3, -0.2], [0.5, 0.1]]), []
    data = torch.randn(3, 2, dtype=torch.float64)
    outer.requires_grad_(), inner.requires_grad_()

    def program():
        with pyro.plate("outer", 2, dim=-1), pyro.poutine.scale(scale=1.7):
            a = pyro.sample("a", dist.Bernoulli(logits=outer))
            with pyro.plate("inner", 3, dim=-2):
                logits = inner + a.unsqueeze(-1)
                z = pyro.sample("z", dist.Bernoulli(logits=logits).to_event(1))
                seen.append((tuple(a.shape), tuple(z.shape)))
                decoded = z @ weight
                pg.cost("misfit", (decoded.sum(-1) - data) ** 2)
                pg.cost("shared", decoded.prod(-1) * a)

    objective = pg.ExpectedCost(
        estimators=estimator,
        num_particles=particles,
        vectorize_particles=particles > 1,
        max_plate_nesting=2,
    )
    loss = objective(program)
    return loss, torch.autograd.grad(loss, [outer, inner, weight]), seen[-1]


@pytest.mark.parametrize("particles", [1, 3])
def test_points_that_plates_share_have_the_same_value_and_gradient(particles):
    value, gradients, shapes = nested_plates("enumerate", particles)
    shared = pg.estimator("enumerate", expand=False)
    once, again, shown = nested_plates(shared, particles)
    torch.testing.assert_close(once, value)
    for found, wanted in zip(again, gradients, strict=True):
        torch.testing.assert_close(found, wanted)
    side_by_side = (particles,) if particles > 1 else ()
    assert shapes == ((2, *side_by_side, 1, 2), (4, 2, *side_by_side, 3, 2, 2))
    assert shown == ((2, *side_by_side, 1, 1), (4, 1, *side_by_side, 1, 1, 2))


def test_points_are_shared_by_plates_alone():
    """Other batch dimensions are the program's to join."""
    logits = parameter([0.3, -0.2, 0.9])

    def program():
        z = pyro.sample("z", dist.Bernoulli(logits=logits))
        pg.cost("joined", z.sum(-1, keepdim=True))

    shared = pg.estimator("enumerate", expand=False)
    with (
        pyro.validation_enabled(False),
        pytest.raises(pg.errors.ProgramError, match="joins"),
    ):
        pg.ExpectedCost(estimators=shared, max_plate_nesting=1)(program)
    cost = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    value = pg.expectation(
        lambda b: b * cost, dist.Bernoulli(logits=logits), estimator=shared
    )
    agree(value, torch.sigmoid(logits) * cost, [logits])


def test_a_program_that_joins_the_elements_of_a_plate_is_refused():
    logits = parameter([0.3, -0.2, 0.9])

    def program():
        with pyro.plate("data", 3):
            z = pyro.sample("z", dist.Bernoulli(logits=logits))
        pg.cost("outside", z.sum(-1, keepdim=True))

    shared = pg.estimator("enumerate", expand=False)
    with pytest.raises(pg.errors.ProgramError, match=r"to_event\(1\)"):
        pg.ExpectedCost(estimators=shared, max_plate_nesting=1)(program)


def test_a_model_for_config_enumerate():
    """Pyro shows the points as ``expand=False`` does; both bounds are exact."""
    data = torch.tensor([0.1, 0.3, 4.8])

    def model():
        with pyro.plate("data", 3):
            z = pyro.sample("z", dist.Categorical(torch.ones(4)))
            assert z.shape == (4, 1)
            x = z.to(torch.get_default_dtype())
            pyro.sample("x", dist.Normal(x, 1.0), obs=data)

    @pyro.infer.config_enumerate
    def theirs():
        logits = pyro.param("logits", torch.linspace(-1, 1, 12).reshape(3, 4))
        with pyro.plate("data", 3):
            pyro.sample("z", dist.Categorical(logits=logits))

    def ours():
        logits = pyro.param("logits", torch.linspace(-1, 1, 12).reshape(3, 4))
        with pyro.plate("data", 3):
            pyro.sample("z", dist.Categorical(logits=logits))

    gradients = []
    shared = pg.estimator("enumerate", expand=False)
    for guide, elbo in [
        (theirs, pyro.infer.TraceEnum_ELBO(max_plate_nesting=1)),
        (ours, pg.ELBO(estimators=shared, max_plate_nesting=1)),
    ]:
        pyro.clear_param_store()
        loss = elbo.differentiable_loss(model, guide)
        loss.backward()
        store = pyro.get_param_store()
        gradients.append((loss.detach(), store._params["logits"].grad))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_showing_points_once_is_yes_or_no():
    with pytest.raises(pg.errors.InputError, match="expand=2: write True or False"):
        pg.estimator("enumerate", expand=2)


def test_a_draw_that_does_not_vary_along_a_plate_has_several_rows():
    class Short(pg.Estimator):
        name = "short"
        traits = pg.Traits(unbiased=True, needs=frozenset())

        def draw(self, dist):
            return pg.Draw(dist=dist, value=dist.sample()[..., :1].unsqueeze(0))

        def gradient_term(self, draw, cost):
            return None

    with pytest.raises(pg.errors.ShapeError, match=r"\(rows, 1, 3\)"):
        pg.expectation(lambda x: x, dist.Normal(torch.zeros(3), 1.0), estimator=Short())


def test_a_support_of_one_point_is_a_draw_like_any_other():
    law = dist.Categorical(logits=parameter([[0.3], [0.9]]))
    shared = pg.estimator("enumerate", expand=False)

    def program():
        with pyro.plate("data", 2):
            pg.cost("value", 2.0 + pyro.sample("z", law))

    value = pg.ExpectedCost(estimators=shared, max_plate_nesting=1)(program)
    assert value.item() == 4.0
