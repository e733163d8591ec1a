"""`auto` in programs: what they can take is found out; no choice of its own raises."""

import io

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from pgplugins.core.circumstances import Circumstances
from tests.statistics import assert_mean, flat_gradient

DATA = torch.tensor([2.0, 0.0, 1.0, 3.0])


def coins_guide():
    logits = pyro.param("logits", torch.tensor([0.3, -0.4, 0.1, 0.8]))
    with pyro.plate("N", 4):
        pyro.sample("z", dist.Bernoulli(logits=logits))


def plated_model():
    with pyro.plate("N", 4):
        z = pyro.sample("z", dist.Bernoulli(0.3))
        pyro.sample("x", dist.Normal(2 * z, 1.0), obs=DATA)


def joining_model():
    with pyro.plate("N", 4):
        z = pyro.sample("z", dist.Bernoulli(0.3))
    total = z.sum(-1, keepdim=True)
    with pyro.plate("one", 1):
        pyro.sample("x", dist.Normal(total, 1.0), obs=torch.tensor([2.0]))


def branching_model():
    z = pyro.sample("z", dist.Bernoulli(0.5))
    mean = 3.0 if z > 0 else 0.0
    pyro.sample("x", dist.Normal(mean, 1.0), obs=torch.tensor(2.5))


def one_guide():
    logit = pyro.param("logit", torch.tensor(0.0))
    pyro.sample("z", dist.Bernoulli(logits=logit))


def stacking_model():
    """Rows at dimensions of their own do not stack."""
    draws = [pyro.sample(f"z{i}", dist.Bernoulli(0.5)) for i in range(3)]
    total = torch.stack(draws).sum(0)
    pyro.sample("x", dist.Normal(total, 1.0), obs=torch.tensor(1.0))


def three_guide():
    logits = pyro.param("logits", torch.tensor([0.3, -0.4, 0.1]))
    for i in range(3):
        pyro.sample(f"z{i}", dist.Bernoulli(logits=logits[i]))


def chain_model():
    z = torch.zeros(())
    for i in range(12):
        z = pyro.sample(f"z{i}", dist.Bernoulli(torch.sigmoid(z * 0.5)))
    pyro.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(1.0))


def chain_guide():
    logits = pyro.param("logits", torch.zeros(12))
    z = torch.zeros(())
    for i in range(12):
        z = pyro.sample(f"z{i}", dist.Bernoulli(logits=logits[i] + z))


def independent_guide():
    logits = pyro.param("logits", torch.zeros(12))
    for i in range(12):
        pyro.sample(f"z{i}", dist.Bernoulli(logits=logits[i]))


def parameters(guide):
    pyro.clear_param_store()
    guide()
    return list(dict(pyro.get_param_store().named_parameters()).values())


def learn(elbo, model, guide, calls):
    found = parameters(guide)
    for _ in range(calls):
        flat_gradient(elbo.differentiable_loss(model, guide), found)
    return found


def exact_gradient(model, guide, names):
    """Sum over all values of the Bernoulli sites."""
    found = parameters(guide)
    total = torch.zeros((), dtype=torch.float64)
    shape = (4,) if "z" in names and model in (plated_model, joining_model) else ()
    count = 4 if shape else len(names)
    for bits in torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * count).reshape(
        -1, count
    ):
        values = {"z": bits} if shape else dict(zip(names, bits, strict=True))
        drawn = pyro.poutine.trace(pyro.poutine.condition(guide, values)).get_trace()
        log_q = drawn.log_prob_sum()
        log_p = (
            pyro.poutine.trace(pyro.poutine.condition(model, values))
            .get_trace()
            .log_prob_sum()
        )
        total = total + log_q.exp() * (log_q - log_p)
    return flat_gradient(total, found)


@pytest.mark.parametrize("calls", [0, 20, 120])
@pytest.mark.parametrize(
    ("model", "guide", "names"),
    [
        (plated_model, coins_guide, ["z"]),
        (joining_model, coins_guide, ["z"]),
        (branching_model, one_guide, ["z"]),
        (stacking_model, three_guide, ["z0", "z1", "z2"]),
    ],
)
def test_gradients_have_the_exact_mean_at_every_stage(model, guide, names, calls):
    exact = exact_gradient(model, guide, names).double()
    elbo = pg.ELBO(estimators="auto", max_plate_nesting=1)
    found = learn(elbo, model, guide, calls)
    torch.manual_seed(7)
    samples = torch.stack(
        [
            flat_gradient(elbo.differentiable_loss(model, guide), found)
            for _ in range(500)
        ]
    )
    if model is plated_model and calls == 120:  # enumerated
        torch.testing.assert_close(
            samples.double(), exact.expand(500, -1), rtol=1e-4, atol=1e-5
        )
    else:
        assert_mean(samples.double(), exact, power=False)


def chosen(elbo, site="z"):
    estimator = elbo.estimator_of(site)
    return estimator.choice, estimator.reason


def test_a_plated_site_is_enumerated():
    elbo = pg.ELBO(estimators="auto", max_plate_nesting=1)
    learn(elbo, plated_model, coins_guide, 120)
    assert chosen(elbo)[0] == "enumerate"


def test_a_cost_that_joins_the_plate_rules_enumeration_out():
    elbo = pg.ELBO(estimators="auto", max_plate_nesting=1)
    learn(elbo, joining_model, coins_guide, 120)
    choice, reason = chosen(elbo)
    assert choice in ("disarm", "score_function")
    assert "without enumerate, measure_valued: a cost joins several" in reason


def test_a_branch_rules_several_rows_out():
    elbo = pg.ELBO(estimators="auto", max_plate_nesting=1)
    learn(elbo, branching_model, one_guide, 60)
    choice, reason = chosen(elbo)
    assert choice == "score_function"
    assert "turns the value into a Python value" in reason


def test_a_program_that_fails_with_several_rows_gets_one():
    elbo = pg.ELBO(estimators="auto", max_plate_nesting=0)
    learn(elbo, stacking_model, three_guide, 60)
    for site in ("z0", "z1", "z2"):
        choice, reason = chosen(elbo, site)
        assert choice == "score_function"
        assert "the program failed with several rows" in reason


def test_a_program_that_fails_anyway_says_what_it_says():
    """And what was learned before it failed still counts."""
    broken = False

    def model():
        if broken:
            raise ZeroDivisionError("a fault of its own")
        plated_model()

    elbo = pg.ELBO(estimators="auto", max_plate_nesting=1)
    learn(elbo, model, coins_guide, 100)
    assert chosen(elbo)[0] == "enumerate"
    broken = True
    with pytest.raises(ZeroDivisionError, match="a fault of its own"):
        elbo.differentiable_loss(model, coins_guide)
    broken = False
    elbo.differentiable_loss(model, coins_guide)
    assert chosen(elbo)[0] == "enumerate"


def test_the_rows_of_a_chain_do_not_multiply_beyond_bounds():
    elbo = pg.ELBO(estimators="auto", max_plate_nesting=0)
    learn(elbo, chain_model, chain_guide, 30)
    for site in ("z0", "z11"):
        choice, reason = chosen(elbo, site)
        assert choice == "score_function"
        assert "2 rows times those of 11 other sites" in reason


def test_a_chain_whose_costs_are_local_is_enumerated():
    elbo = pg.ELBO(estimators="auto", max_plate_nesting=0)
    learn(elbo, chain_model, independent_guide, 120)
    assert {chosen(elbo, f"z{i}")[0] for i in range(12)} == {"enumerate"}


@pytest.mark.parametrize("dependencies", ["plates", "order"])
def test_several_rows_are_not_tried_where_nobody_looks(dependencies):
    elbo = pg.ELBO(estimators="auto", max_plate_nesting=1, dependencies=dependencies)
    learn(elbo, plated_model, coins_guide, 60)
    choice, reason = chosen(elbo)
    assert choice == "score_function"
    assert "Python value" in reason or "nobody has seen" in reason


def test_a_bound_that_joins_particles_takes_one_row():
    bound = pg.IWELBO(
        num_particles=4,
        vectorize_particles=True,
        max_plate_nesting=1,
        estimators="auto",
    )
    learn(bound, plated_model, coins_guide, 60)
    choice, reason = chosen(bound)
    assert choice == "score_function"
    assert "joins particles" in reason


def mixed_model():
    z = pyro.sample("z", dist.Bernoulli(0.4))
    w = pyro.sample("w", dist.Normal(2 * z, 1.0))
    pyro.sample("x", dist.Normal(w, 1.0), obs=torch.tensor(1.5))


def mixed_guide():
    z = pyro.sample("z", dist.Bernoulli(logits=pyro.param("l", torch.tensor(0.1))))
    means = pyro.param("m", torch.tensor([0.0, 1.0]))
    pyro.sample("w", dist.Normal(means[z.long()], 1.0))


def mixed_elbo(**options):
    return pg.ELBO(
        num_particles=16,
        vectorize_particles=True,
        max_plate_nesting=0,
        estimators="auto",
        **options,
    )


def test_the_gradient_of_the_sites_own_density_counts():
    """Where guide and model all but agree the path carries little, log q its score.

    The gradient for the mean has the variance 1 / s^2 then, that for the scale 2 / s^2.
    """
    scale = 0.5

    def model():
        pyro.sample("w", dist.Normal(0.3, scale))

    def guide():
        loc = pyro.param("loc", torch.tensor(0.32))
        pyro.sample("w", dist.Normal(loc, pyro.param("s", torch.tensor(scale))))

    elbo = pg.ELBO(
        num_particles=2000,
        vectorize_particles=True,
        max_plate_nesting=0,
        estimators=pg.estimator("auto", candidates=("reparameterized", "lax")),
    )
    learn(elbo, model, guide, 100)
    auto = elbo.estimator_of("w")
    path, score = (auto.turns.race.standing(i).variance for i in (0, 1))
    assert path == pytest.approx(3 / scale**2, rel=0.1)
    assert score == pytest.approx(0.0, abs=0.1)
    assert auto.choice == "lax"


def test_a_bound_with_a_path_takes_the_hybrid():
    bound = pg.IWELBO(
        num_particles=16,
        vectorize_particles=True,
        max_plate_nesting=0,
        estimators="auto",
    )
    learn(bound, mixed_model, mixed_guide, 150)
    assert chosen(bound, "z")[0] == "score_function"
    assert chosen(bound, "w")[0] in ("hybrid", "lax")


def test_every_site_has_its_own_choice_and_explain_tells_it():
    elbo = mixed_elbo()
    learn(elbo, mixed_model, mixed_guide, 200)
    assert chosen(elbo, "z")[0] == "enumerate"
    assert chosen(elbo, "w")[0] == "hybrid"
    found = pg.explain((mixed_model, mixed_guide, ()), elbo=elbo, num_runs=20)
    sites = {site.name: site for site in found.sites}
    assert sites["z"].estimator == sites["w"].estimator == "auto"
    assert (sites["z"].choice, sites["w"].choice) == ("enumerate", "hybrid")
    assert "it uses enumerate (E|g|^2 T is" in sites["z"].reason
    assert not any("its support has" in w for w in sites["z"].warnings)
    assert "auto (enumerate)" in str(found)
    assert found.to_dict()["sites"][0]["choice"] == "enumerate"


def test_explain_names_no_choice_where_there_is_none():
    found = pg.explain((mixed_model, mixed_guide, ()), num_runs=5)
    assert [site.choice for site in found.sites] == [None, None]


def test_compare_lets_it_learn():
    b = torch.tensor(0.4, requires_grad=True)
    found = pg.compare(
        (lambda x: (x - 0.3) ** 2, lambda: dist.Bernoulli(logits=b)),
        ["auto", "enumerate", "score_function"],
        params={"b": b},
        num_samples=16,
        num_runs=40,
    )
    rows = {row.estimator: row for row in found.rows}
    assert rows["auto"].unbiased
    assert rows["auto"].variance < 1e-12 < rows["score_function"].variance


@pytest.mark.parametrize("steps", [3, 30, 80, 150])
def test_a_run_is_resumed_exactly_from_a_checkpoint(steps):
    pyro.set_rng_seed(0)
    elbo = mixed_elbo()
    svi = pyro.infer.SVI(mixed_model, mixed_guide, pyro.optim.Adam({"lr": 0.01}), elbo)
    for _ in range(steps):
        svi.step()
    file = io.BytesIO()
    torch.save(elbo.state_dict(), file)
    file.seek(0)
    resumed = mixed_elbo()
    resumed.load_state_dict(torch.load(file))
    found = list(dict(pyro.get_param_store().named_parameters()).values())

    def go_on(objective):
        pyro.set_rng_seed(1)
        return torch.stack(
            [
                flat_gradient(
                    objective.differentiable_loss(mixed_model, mixed_guide), found
                )
                for _ in range(60)
            ]
        )

    went_on = go_on(elbo)
    assert torch.equal(go_on(resumed), went_on)
    assert not torch.equal(go_on(mixed_elbo()), went_on)


def test_a_value_that_was_drawn_elsewhere_is_taken():
    parameters(coins_guide)
    drawn = pyro.poutine.trace(coins_guide).get_trace()
    elbo = pg.ELBO(estimators="auto", max_plate_nesting=1)
    elbo.loss_and_grads(plated_model, pyro.poutine.replay(coins_guide, drawn))
    found = pyro.get_param_store().named_parameters()
    again = pg.ELBO(estimators="score_function", max_plate_nesting=1)
    grads = [p.grad.clone() for _, p in found]
    for _, p in found:
        p.grad = None
    again.loss_and_grads(plated_model, pyro.poutine.replay(coins_guide, drawn))
    for mine, (_, p) in zip(grads, found, strict=True):
        torch.testing.assert_close(mine, p.grad)


def test_rewards_of_a_program_are_met():
    logits = torch.zeros(5, requires_grad=True)

    def program():
        a = pyro.sample("a", dist.Categorical(logits=logits))
        pg.cost("c", torch.arange(5.0)[a])

    objective = pg.ExpectedCost(estimators="auto", num_particles=8, max_plate_nesting=0)
    for _ in range(150):
        objective(program).backward()
    assert objective.estimator_of("a").choice == "enumerate"
    logits.grad = None
    objective(program).backward()
    torch.testing.assert_close(logits.grad, 0.2 * (torch.arange(5.0) - 2.0))


def test_a_flat_cost_of_a_program_is_no_error():
    mu = torch.tensor(0.0, requires_grad=True)

    def program():
        pg.cost("c", torch.round(pyro.sample("a", dist.Normal(mu, 1.0))))

    objective = pg.ExpectedCost(estimators="auto", num_particles=8)
    for _ in range(80):
        objective(program).backward()
    assert objective.estimator_of("a").choice == "lax"


# What the fold tells ------------------------------------------------------------------


class Listener(pg.Estimator):
    """A score function that keeps what its draws have met."""

    name = "listener"
    traits = pg.Traits(
        unbiased=True, needs=frozenset({"log_prob"}), cost_evaluations="choice"
    )

    def __init__(self):
        super().__init__()
        self.met = []

    def draw(self, dist):
        return pg.Draw(dist=dist, value=dist.sample().unsqueeze(0))

    def gradient_term(self, draw, cost):
        return draw.score_term(cost)[0]

    def update(self, draw, cost):
        self.met.append(draw.met)


@pytest.mark.parametrize(
    ("model", "guide", "site", "met"),
    [
        (plated_model, coins_guide, "z", Circumstances(False, False, 1, 1)),
        (joining_model, coins_guide, "z", Circumstances(True, False, 1, 1)),
        (branching_model, one_guide, "z", Circumstances(False, True, 1, 1)),
        (stacking_model, three_guide, "z1", Circumstances(False, False, 3, 1)),
        (chain_model, chain_guide, "z0", Circumstances(False, False, 12, 1)),
        (chain_model, independent_guide, "z0", Circumstances(False, False, 2, 1)),
    ],
)
def test_the_fold_says_what_a_program_does_with_a_draw(model, guide, site, met):
    elbo = pg.ELBO(estimators=Listener(), max_plate_nesting=1)
    learn(elbo, model, guide, 2)
    assert elbo.estimator_of(site).met == [met, met]


def test_rows_that_others_have_are_counted():
    def choose(site):
        return Listener() if site.name == "z0" else "enumerate"

    elbo = pg.ELBO(estimators=choose, max_plate_nesting=0)
    learn(elbo, chain_model, independent_guide, 1)
    (met,) = elbo.estimator_of("z0").met
    assert met == Circumstances(False, False, shared_by=1, taken=2)
    assert met.room(256) == 128


def test_nothing_is_told_where_nobody_looks():
    elbo = pg.ELBO(estimators=Listener(), max_plate_nesting=1, dependencies="plates")
    learn(elbo, plated_model, coins_guide, 1)
    assert elbo.estimator_of("z").met == [None]
