"""What the discrete and relaxed estimators promise beside being unbiased."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg

LOGITS = torch.tensor([0.3, -0.6, 1.1], dtype=torch.float64)


@pytest.mark.parametrize("family", ["Bernoulli", "OneHotCategorical", "Categorical"])
def test_relaxed_rows_do_not_disturb_other_parameters(family):
    """A decoder's gradient under rebar is that of the hard row alone."""
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    logits = LOGITS.clone().requires_grad_()
    seen = []

    def cost(x):
        x = x if family == "Categorical" else x.sum(-1)
        seen.append(x.detach())
        return (weight * x - 0.4) ** 2

    law = getattr(dist, family)(logits=logits)
    law = law.to_event(1) if family == "Bernoulli" else law
    torch.manual_seed(0)
    loss = pg.expectation(cost, law, estimator="rebar")
    (found,) = torch.autograd.grad(loss, weight)
    hard = seen[0][0]
    assert found.item() == pytest.approx((2 * (0.7 * hard - 0.4) * hard).item())


@pytest.mark.parametrize("tune", [False, True])
def test_rebar_tunes_with_values_from_before_the_draw(tune):
    rebar = pg.estimator("rebar", temperature=0.5, tune=tune)
    logits = LOGITS.clone().requires_grad_()

    def loss():
        law = dist.Bernoulli(logits=logits)
        return pg.expectation(lambda b: (b - 0.45) ** 2, law, estimator=rebar)

    before = {k: v.clone() for k, v in rebar.state_dict().items()}
    torch.manual_seed(0)
    first = torch.autograd.grad(loss().sum(), logits)[0]
    fixed = pg.estimator("rebar", temperature=0.5, tune=False)
    torch.manual_seed(0)
    law = dist.Bernoulli(logits=logits)
    plain = pg.expectation(lambda b: (b - 0.45) ** 2, law, estimator=fixed)
    torch.testing.assert_close(first, torch.autograd.grad(plain.sum(), logits)[0])
    changed = any((rebar.state_dict()[k] != before[k]).any() for k in before)
    assert changed == tune


@pytest.mark.parametrize("name", ["rebar", "relax"])
def test_tuning_lowers_the_variance(name):
    """Over 600 steps; rebar from a poor temperature, relax from a plain score."""
    chosen = pg.estimator(name, **({"temperature": 5.0} if name == "rebar" else {}))
    logits = torch.zeros(200, dtype=torch.float64, requires_grad=True)

    def spread():
        law = dist.Bernoulli(logits=logits)
        loss = pg.expectation(lambda b: (b + 0.6) ** 2, law, estimator=chosen)
        return torch.autograd.grad(loss.sum(), logits)[0].var().item()

    torch.manual_seed(0)
    start = sum(spread() for _ in range(5))
    for _ in range(600):
        spread()
    assert sum(spread() for _ in range(5)) < 0.7 * start


@pytest.mark.parametrize("name", ["rebar", "relax"])
def test_tuned_state_is_resumed_exactly(name):
    def run(chosen, steps):
        out = []
        for _ in range(steps):
            logits = LOGITS.clone().requires_grad_()
            law = dist.OneHotCategorical(logits=logits)
            loss = pg.expectation(
                lambda x: (x @ LOGITS - 0.3) ** 2, law, estimator=chosen, num_samples=8
            )
            out.append(torch.autograd.grad(loss, logits)[0])
        return out

    whole, first = pg.estimator(name), pg.estimator(name)
    torch.manual_seed(0)
    expected = run(whole, 12)
    torch.manual_seed(0)
    found = run(first, 6)
    second = pg.estimator(name)
    second.load_state_dict(first.state_dict())
    found += run(second, 6)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_family_without_the_feature_is_refused_with_those_that_have_it():
    for name, law, words in (
        ("disarm", dist.Normal(0.0, 1.0), ["Normal", "coupling", "Bernoulli"]),
        ("rebar", dist.Poisson(2.0), ["Poisson", "relaxation", "Categorical"]),
        ("measure_valued", dist.Laplace(0.0, 1.0), ["Laplace", "Gamma"]),
        ("finite_difference", dist.Bernoulli(0.5), ["Bernoulli", "Binomial"]),
        ("antithetic", dist.Gamma(2.0, 1.0), ["Gamma", "reflection", "Normal"]),
    ):
        with pytest.raises(pg.PgpluginsError) as caught:
            pg.expectation(lambda x: x, law, estimator=name)
        assert all(word in str(caught.value) for word in words)


def test_a_parameter_without_a_weak_derivative_is_refused():
    law = dist.Gamma(torch.tensor(2.0, requires_grad=True), 1.0)
    with pytest.raises(pg.PgpluginsError, match=r"concentration.*rate"):
        pg.expectation(lambda x: x, law, estimator="measure_valued")


def test_too_many_rows_are_refused_with_their_number():
    law = dist.Bernoulli(torch.full((40,), 0.5)).to_event(1)
    for name in ("enumerate", "sum_and_sample", "unordered_set"):
        with pytest.raises(pg.PgpluginsError, match=r"2\^40 = 1099511627776") as caught:
            pg.expectation(lambda x: x.sum(-1), law, estimator=name)
        # Nothing is recommended that is too large as well.
        assert str(caught.value).endswith('Write estimator="score_function" instead.')
    with pytest.raises(pg.PgpluginsError, match=r"20001 rows.*max_rows=16384"):
        probs = torch.full((20000,), 0.5, requires_grad=True)
        law = dist.Bernoulli(probs).to_event(1)
        pg.expectation(lambda x: x.sum(-1), law, estimator="measure_valued")


@pytest.mark.parametrize("name", ["measure_valued", "enumerate"])
def test_the_refusal_names_the_site_and_survives_any_number(name):
    law = dist.Bernoulli(logits=torch.zeros(20_000, requires_grad=True)).to_event(1)

    def program():
        pg.cost("ones", pyro.sample("bits", law).sum(-1))

    number = (
        "20001 rows" if name == "measure_valued" else r"2\^20000 \(about 10\^6021\)"
    )
    with pytest.raises(pg.PgpluginsError, match=f"site 'bits'.*{number}"):
        pg.ExpectedCost(estimators=name)(program)


@pytest.mark.parametrize("name", ["measure_valued", "sum_and_sample", "unordered_set"])
def test_rows_of_one_element_are_not_shared(name):
    """A cost that joins batch elements would need their combinations."""
    law = dist.Categorical(logits=LOGITS.clone().requires_grad_().expand(2, 3))
    with pytest.raises(pg.PgpluginsError, match="joins"):
        pg.expectation(lambda x: x.double().sum(-1), law, estimator=name)


@pytest.mark.parametrize("name", ["disarm", "rebar", "relax"])
def test_joint_rows_serve_costs_that_join_batch_elements(name):
    """Estimated at equal seeds, batch and event agree."""
    grads = []
    for law in (
        lambda logits: dist.Bernoulli(logits=logits),
        lambda logits: dist.Bernoulli(logits=logits).to_event(1),
    ):
        logits = LOGITS.clone().requires_grad_()
        torch.manual_seed(1)
        loss = pg.expectation(
            lambda x: (x.sum(-1) - 1.3) ** 2,
            law(logits),
            estimator=name,
            num_samples=50,
        )
        grads.append(torch.autograd.grad(loss, logits)[0])
    torch.testing.assert_close(*grads)


def test_a_plugin_teaches_a_family():
    class Spin(torch.distributions.Bernoulli):
        """Minus one or plus one."""

        def sample(self, shape=()):
            return 2 * super().sample(shape) - 1

        def expand(self, batch_shape, _instance=None):
            return Spin(logits=self.logits.expand(batch_shape), validate_args=False)

    @pg.families.coupling.register(Spin)
    def _(law):
        bits = pg.families.coupling.of(torch.distributions.Bernoulli(logits=law.logits))
        return pg.families.Coupled(2 * bits.value - 1, bits.direction)

    logits = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    law = Spin(logits=logits, validate_args=False)
    loss = pg.expectation(lambda x: 3 * x, law, estimator="disarm", num_samples=20_000)
    (found,) = torch.autograd.grad(loss, logits)
    p = torch.sigmoid(torch.tensor(0.4)).item()
    # Standard error 0.006: five of them are 2%.
    assert found.item() == pytest.approx(6 * p * (1 - p), abs=0.03)


@pytest.mark.parametrize("name", ["gumbel_softmax", "straight_through", "reinmax"])
def test_biased_ones_say_so_and_run_in_an_elbo(name):
    assert not pg.estimator(name).traits.unbiased

    def model():
        z = pyro.sample("z", dist.OneHotCategorical(logits=torch.zeros(3)))
        pyro.sample(
            "x",
            dist.Normal(z @ torch.tensor([0.0, 1.0, 4.0]), 1.0),
            obs=torch.tensor(3.5),
        )

    def guide():
        pyro.sample("z", dist.OneHotCategorical(logits=pyro.param("l", torch.zeros(3))))

    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    elbo = pg.ELBO(estimators=name)
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), elbo)
    for _ in range(400):
        svi.step()
    assert pyro.param("l").softmax(-1)[2] > 0.8


@pytest.mark.parametrize("above", ["disarm", "rebar", "measure_valued", "enumerate"])
def test_counts_are_enumerated_below_rows(above):
    """Binomial reads its number of trials, which is no choice of the program's."""
    logit = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def program():
        a = pyro.sample("a", dist.Bernoulli(logits=logit))
        n = pyro.sample("n", dist.Binomial(3, probs=0.3 + 0.4 * a))
        pg.cost("c", n**2 + a)

    objective = pg.ExpectedCost(
        estimators={"a": above, "n": "enumerate"}, num_particles=3000
    )
    torch.manual_seed(0)
    (found,) = torch.autograd.grad(objective(program), logit)
    p = logit.detach().sigmoid()
    mean = [3 * q * (1 - q) + 9 * q**2 for q in (0.3, 0.7)]
    exact = p * (1 - p) * (mean[1] - mean[0] + 1)
    # Disarm has the largest standard error: 0.5% of the gradient.
    assert found.item() == pytest.approx(exact.item(), rel=0.05)


@pytest.mark.parametrize(
    ("varied", "rows"), [((), 1), (("loc",), 3), (("scale",), 3), (("loc", "scale"), 5)]
)
def test_constant_parameters_take_no_rows(varied, rows):
    values = {"loc": torch.tensor(0.3), "scale": torch.tensor(1.2)}
    for name in varied:
        values[name].requires_grad_()
    draw = pg.estimator("measure_valued").draw(dist.Normal(**values))
    assert draw.rows == rows
