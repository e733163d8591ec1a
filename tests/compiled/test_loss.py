"""Functions that return a loss: value and gradient from one graph."""

import pyro.distributions as dist
import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Independent, Normal, Poisson

import pgplugins as pg
from pgplugins.errors import CompileError, NotFiniteError, ShapeError
from tests.statistics import assert_mean, flat_gradient, parameter

WEIGHTS = torch.tensor([1.0, 2.0], dtype=torch.float64)


def two_bernoullis(estimator, samples):
    logits = parameter(0.4, -0.3)
    law = Independent(Bernoulli(logits=logits), 1)
    q = torch.sigmoid(logits.detach())

    def loss():
        return pg.expectation(
            lambda b: ((b - 0.3) ** 2 * WEIGHTS).sum(-1),
            Independent(Bernoulli(logits=logits), 1),
            estimator=estimator,
            num_samples=samples,
        )

    assert law.event_shape == (2,)
    return loss, [logits], q * (1 - q) * (0.7**2 - 0.3**2) * WEIGHTS


def gaussian(estimator, samples):
    loc, scale = parameter(0.7), parameter(1.3)

    def loss():
        return pg.expectation(
            lambda x: (x - 2) ** 2,
            Normal(loc, scale),
            estimator=estimator,
            num_samples=samples,
        )

    return loss, [loc, scale], torch.tensor([-2.6, 2.6], dtype=torch.float64)


def counts(estimator, samples):
    log_rate = parameter(0.3)

    def loss():
        return pg.expectation(
            lambda x: (x - 2) ** 2,
            Poisson(log_rate.exp()),
            estimator=estimator,
            num_samples=40 * samples,
        )

    rate = log_rate.detach().exp()
    return loss, [log_rate], ((2 * (rate - 2) + 1) * rate).reshape(1)


UNBIASED = {
    "antithetic": gaussian,
    "disarm": two_bernoullis,
    "doubly_reparameterized": gaussian,
    "enumerate": two_bernoullis,
    "finite_difference": counts,
    "hybrid": gaussian,
    "lax": gaussian,
    "measure_valued": two_bernoullis,
    "rebar": two_bernoullis,
    "relax": two_bernoullis,
    "reparameterized": gaussian,
    "score_function": two_bernoullis,
    "sum_and_sample": two_bernoullis,
    "unordered_set": two_bernoullis,
}


def test_all_estimators_without_bias_are_here():
    ours = {
        name
        for name in pg.available()
        if getattr(type(pg.estimator(name)).traits, "unbiased", False)
    }
    assert ours - {"auto"} == set(UNBIASED)


@pytest.mark.parametrize("name", UNBIASED)
def test_the_mean_gradient_is_exact(name):
    torch.manual_seed(0)
    estimator = pg.estimator(name)
    loss, params, exact = UNBIASED[name](estimator, 64)
    compiled = pg.compile(loss)
    for _ in range(60):  # what has to be learnt, and what has to be compiled anew
        compiled()
    found = torch.stack([flat_gradient(compiled(), params) for _ in range(600)])
    assert_mean(found, exact)
    assert compiled.compile_seconds > 0


def test_control_variates_that_have_learnt_lower_the_variance():
    torch.manual_seed(0)

    def variance(name):
        loss, params, _ = gaussian(pg.estimator(name), 64)
        compiled = pg.compile(loss)
        for _ in range(100):
            compiled()
        return torch.stack([flat_gradient(compiled(), params) for _ in range(300)]).var(
            0
        )

    path = variance("reparameterized")
    assert (
        variance("hybrid") < 0.2 * path
    ).all()  # a quadratic: nearly nothing is left
    assert (variance("lax") < 0.2 * path).all()


def test_a_moving_average_is_what_plain_calls_make_of_it():
    """The draw is certain, so that costs are, and averages can be compared."""

    def average(make):
        estimator = pg.estimator("score_function", baseline="moving_average")
        loc = parameter(1e9)

        def loss():
            law = Bernoulli(logits=loc)
            return pg.expectation(lambda b: 3 * b, law, estimator=estimator)

        call = make(loss)
        for _ in range(7):
            call()
        return estimator.state_dict()

    plain, compiled = average(lambda loss: loss), average(pg.compile)
    assert plain.keys() == compiled.keys()
    for key, value in plain.items():
        torch.testing.assert_close(compiled[key], value)


def test_a_jump_is_noticed_and_the_graph_is_made_anew():
    torch.manual_seed(0)
    estimator = pg.estimator("hybrid")
    loc = parameter(1.0)

    def loss():
        return pg.expectation(
            lambda x: x**2 + 3.0 * (x > 0.5),
            Normal(loc, 1.0),
            estimator=estimator,
            num_samples=64,
        )

    compiled = pg.compile(loss)
    with pytest.warns(UserWarning, match="not continuous"):
        for _ in range(2500):
            compiled()
            if estimator.fallback is not None:
                break
        for _ in range(60):
            compiled()
    found = torch.stack([flat_gradient(compiled(), [loc]) for _ in range(800)])
    density = Normal(1.0, 1.0).log_prob(torch.tensor(0.5, dtype=torch.float64)).exp()
    assert_mean(found, (2 + 3 * density).reshape(1))


def test_arguments_get_their_gradients_and_new_values_are_used():
    weight = parameter(2.0)

    @pg.compile
    def loss(logits, *, power):
        law = Categorical(logits=logits)
        return pg.expectation(
            lambda k: weight * k.double() ** power, law, estimator="enumerate"
        )

    for seed in range(3):
        torch.manual_seed(seed)
        logits = torch.randn(4, dtype=torch.float64, requires_grad=True)
        value = loss(logits * 1.0, power=2)
        (3 * value).backward()
        p = logits.detach().softmax(0)
        f = 2.0 * torch.arange(4.0, dtype=torch.float64) ** 2
        assert value.item() == pytest.approx((p * f).sum().item())
        torch.testing.assert_close(logits.grad, 3 * p * (f - (p * f).sum()))
    assert weight.grad.item() != 0
    assert len(loss._known) == 1


def test_a_program_with_costs():
    logit = parameter(0.4)

    def program():
        a = pyro_sample("a", dist.Bernoulli(logits=logit))
        b = pyro_sample("b", dist.Bernoulli(0.2 + 0.5 * a))
        pg.cost("c", 3 * b - a)

    objective = pg.ExpectedCost(num_particles=256)
    compiled = pg.compile(lambda: objective(program))
    q = torch.sigmoid(logit.detach())
    exact = (q * (1 - q) * (3 * 0.5 - 1)).reshape(1)
    found = torch.stack([flat_gradient(compiled(), [logit]) for _ in range(1500)])
    assert_mean(found, exact)


def pyro_sample(name, law):
    import pyro

    return pyro.sample(name, law)


def test_costs_that_do_not_depend_on_a_site_stay_out_of_its_score():
    """One particle and no baseline: a cost that is foreign would be pure noise."""
    logit = parameter(0.4)

    def program():
        pyro_sample("a", dist.Bernoulli(logits=logit))
        b = pyro_sample("b", dist.Bernoulli(torch.tensor(0.5, dtype=torch.float64)))
        pg.cost("foreign", 1000 * b + 0 * logit)

    objective = pg.ExpectedCost(estimators="score_function")
    compiled = pg.compile(lambda: objective(program))
    for _ in range(20):
        assert flat_gradient(compiled(), [logit]).item() == 0.0


def test_a_second_derivative_is_refused_by_torch():
    loss, params, _ = gaussian("reparameterized", 4)
    compiled = pg.compile(loss)
    (first,) = torch.autograd.grad(compiled(), params[:1], create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(first, params[:1])


@pytest.mark.parametrize(
    "result", [torch.ones(2, requires_grad=True), torch.tensor(1.0), 3.0]
)
def test_what_is_no_loss_is_refused(result):
    with pytest.raises(ShapeError, match="scalar loss with a gradient"):
        pg.compile(lambda: result)()


def test_a_loss_that_is_not_finite_raises():
    x = parameter(1.0)
    compiled = pg.compile(lambda shift: (x - shift).log())
    compiled(torch.tensor(0.5))
    with pytest.raises(NotFiniteError, match="nan"):
        compiled(torch.tensor(2.0))


def test_what_changes_from_call_to_call_is_refused():
    x = parameter(1.0)
    count = [0]

    def loss():
        count[0] += 1
        return x * count[0]

    with pytest.raises(CompileError, match="something else at every call"):
        pg.compile(loss)()


def test_tensors_from_outside_may_come_first():
    a, b = parameter(1.0, 2.0), parameter(3.0, 4.0)
    compiled = pg.compile(lambda: (a * b).sum())
    assert compiled().item() == 11.0
    assert flat_gradient(compiled(), [a, b]).tolist() == [3.0, 4.0, 1.0, 2.0]


def test_an_argument_that_the_function_holds_as_well_has_both_gradients():
    w = parameter(3.0)
    compiled = pg.compile(lambda x: w * x)
    assert flat_gradient(compiled(w), [w]).item() == 6.0
    assert flat_gradient(compiled(w), [w]).item() == 6.0


def test_a_module_that_changes_its_precision_is_compiled_anew():
    net = torch.nn.Linear(4, 1)
    compiled = pg.compile(lambda s: (net.weight * s).sum())
    s = torch.tensor(1.0)
    compiled(s)
    net.double()
    assert compiled(s).item() == pytest.approx(net.weight.sum().item())
    net.weight = torch.nn.Parameter(torch.ones(1, 4))
    assert compiled(s).item() == 4.0
    net.weight.requires_grad_(False)
    with pytest.raises(ShapeError, match="nothing that requires a gradient"):
        compiled(s)


def test_held_normals_take_their_noise_from_outside():
    loss, params, exact = gaussian("score_function", 256)
    compiled = pg.compile(loss)
    found = torch.stack([flat_gradient(compiled(), params) for _ in range(1500)])
    assert_mean(found, exact)
    (known,) = compiled._known.values()
    assert [one.normal for one in known.step._noise] == [True]
    assert not known.step._draws


def test_a_graph_serves_those_who_want_no_gradient():
    w = parameter(3.0)
    compiled = pg.compile(lambda x: w * x)
    x = torch.tensor(2.0, dtype=torch.float64)
    assert compiled(x).requires_grad
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert compiled(x).item() == 6.0
            assert compiled(torch.ones_like(x)).item() == 3.0
    assert flat_gradient(compiled(x), [w]).item() == 2.0
    assert len(compiled._known) == 1
