"""What explain says of a site in words: its estimator, the reason, the warnings."""

import json
from functools import partial

import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as T
import pytest
import torch
from pyro.infer.autoguide import AutoNormalizingFlow

import pgplugins as pg
from pgplugins.errors import EstimatorError, InputError, InputTypeError, ProgramError
from pgplugins.infer import choice
from tests.statistics import parameter


@pytest.fixture(autouse=True)
def empty_store():
    with pyro.get_param_store().scope():
        yield


def coins(names, infer=None, wrapped=None):
    def model():
        for name in names:
            pyro.sample(name, dist.Bernoulli(0.4))

    def guide():
        logits = pyro.param(f"logits of {names}", torch.zeros(len(names)))
        for logit, name in zip(logits, names, strict=True):
            law = dist.Bernoulli(logits=logit)
            if name == wrapped:
                law = pg.wrap(law, "score_function")
            pyro.sample(name, law, infer={"estimator": infer} if name == infer else {})

    return model, guide, ()


def choose_third(site):
    return "enumerate" if site.name == "f" else None


def test_a_reason_for_every_way_to_choose():
    names = ["enumerate", "wrapped", "exact", "pat_tern", "typed"]
    elbo = pg.ELBO(
        estimators={
            "exact": "enumerate",
            "pat_*": "enumerate",
            dist.Bernoulli: "enumerate",
        }
    )
    found = pg.explain(
        coins(names, infer="enumerate", wrapped="wrapped"), elbo=elbo, num_runs=2
    )
    assert {site.name: (site.estimator, site.reason) for site in found.sites} == {
        "enumerate": ("enumerate", "the site 'enumerate' asks for it"),
        "wrapped": ("score_function", "pg.wrap at the site"),
        "exact": ("enumerate", "chosen by name 'exact'"),
        "pat_tern": ("enumerate", "chosen by pattern 'pat_*'"),
        "typed": ("enumerate", "chosen by type Bernoulli"),
    }
    for estimators, name, reason in (
        ("enumerate", "enumerate", "chosen for all sites"),
        (choose_third, "enumerate", "chosen by a function"),
        (None, "score_function", "default: it has no rsample"),
    ):
        (site,) = pg.explain(coins(["f"]), estimators=estimators, num_runs=2).sites
        assert (site.estimator, site.reason) == (name, reason)


def test_a_plugin_that_decides_is_the_reason(monkeypatch):
    monkeypatch.setattr(
        choice, "default_estimator", lambda s: "enumerate" if s.name == "z" else None
    )
    (site,) = pg.explain(coins(["z"]), num_runs=2).sites
    assert (site.estimator, site.reason) == ("enumerate", "decided by a plugin")


class Chooser(pg.Estimator):
    """Stands for an estimator that chooses among others, and says which and why."""

    name = "chooser"
    traits = pg.Traits(unbiased=True, needs=frozenset({"log_prob"}))

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.choice = "nothing"
        self.reason = ""

    def draw(self, law):
        self.calls += 1
        self.choice, self.reason = "score_function", "it has run"
        return pg.Draw(dist=law, value=law.sample().unsqueeze(0))

    def gradient_term(self, draw, cost):
        return draw.score_term(cost)[0]


class Biased(Chooser):
    name = "biased"
    traits = pg.Traits(unbiased=False, needs=frozenset({"log_prob"}))


def normal(mu, cost=torch.square):
    return (cost, lambda: dist.Normal(mu, 1.0))


def test_an_estimator_that_chooses_shows_its_choice_and_its_owner_keeps_its_state():
    mu, chooser = parameter(0.5), Chooser()
    (site,) = pg.explain(normal(mu), {"mu": mu}, estimators=chooser, num_runs=3).sites
    assert site.reason == ("chosen for all sites; it uses score_function (it has run)")
    assert (chooser.choice, chooser.calls) == ("nothing", 0)


def test_a_biased_estimator_is_warned_of():
    mu = parameter(0.5)
    (site,) = pg.explain(normal(mu), {"mu": mu}, estimators=Biased(), num_runs=3).sites
    assert any("biased is biased" in text for text in site.warnings)


def test_an_enumerable_site_estimated_by_score_is_told_how_many_states_it_has():
    logits = parameter(0.5, -0.3, 0.1)
    pair = dist.Bernoulli(logits=logits[:2]).to_event(1)

    def run(law, **settings):
        return pg.explain(
            (lambda x: x.flatten(1).sum(1) if x.dim() > 1 else x, lambda: law),
            {"logits": logits},
            num_samples=100,
            num_runs=2,
            **settings,
        ).sites[0]

    categorical = dist.Categorical(logits=logits)
    for law, states in ((pair, 4), (categorical, 3)):
        (text,) = [w for w in run(law).warnings if "enumerate" in w]
        assert f"{states} states" in text
        assert not run(law, estimators="enumerate").warnings
    wide = dist.Bernoulli(logits=logits[0].expand(20)).to_event(1)
    assert not any("enumerate" in text for text in run(wide).warnings)


def test_signal_below_the_noise_is_warned_of_at_the_site_that_makes_it():
    """One sample of x^2 at mu = 0.1: path 0.2 against a deviation of 2."""
    mu = parameter(0.1)

    def program():
        a = pyro.sample("a", dist.Normal(mu, 1.0))
        b = pyro.sample("b", dist.Normal(0.01 * mu, 0.01))
        pg.cost("square", a**2 + b)

    found = pg.explain(program, {"mu": mu}, num_runs=2000, seed=0)
    assert found.sites[1].reaches == ["mu"]
    at = {site.name: site.warnings for site in found.sites}
    (text,) = at["a"]
    assert text.startswith("SNR 0.1") or text.startswith("SNR 0.09")
    assert not at["b"] and not found.warnings
    strong = pg.explain(program, {"mu": mu}, num_particles=400, num_runs=100, seed=0)
    assert not strong.sites[0].warnings


def test_parameters_without_a_gradient_are_warned_of():
    mu, idle, lost = parameter(0.5), parameter(1.0), parameter(0.3)

    def program():
        a = pyro.sample("a", dist.Normal(mu, 1.0))
        pyro.sample("b", dist.Normal(lost, 1.0))
        pg.cost("square", a**2)

    found = pg.explain(
        program,
        {"mu": mu, "idle": idle, "lost": lost},
        num_particles=50,
        num_runs=20,
        seed=0,
    )
    at = {site.name: site.warnings for site in found.sites}
    for text, name in zip(found.warnings, ("idle", "lost"), strict=True):
        assert text.startswith(f"{name!r} gets no gradient: it is exactly zero")
        assert "No cost depends on it" in text
    assert not at["a"]


def test_a_flat_cost_is_warned_of_and_the_score_part_is_there():
    mu = parameter(0.3)
    found = pg.explain(
        normal(mu, lambda x: 1.0 * (x > 0.5)),
        {"mu": mu},
        num_samples=1000,
        num_runs=50,
        seed=0,
    )
    (site,) = found.sites
    want = dist.Normal(mu, 1.0).log_prob(torch.tensor(0.5)).exp().item()
    assert site.score.mean["mu"].item() == pytest.approx(want, rel=0.1)
    assert site.pathwise.mean["mu"] == 0 and found.gradient is None
    assert any("flat" in text for text in site.warnings)
    assert any("jumps" in text for text in site.warnings)


def test_a_density_whose_support_moves_has_no_score():
    high = parameter(2.0)
    (site,) = pg.explain(
        (torch.square, lambda: dist.Uniform(0.0, high)),
        {"high": high},
        num_samples=1000,
        num_runs=50,
        seed=0,
    ).sites
    assert site.score is None
    assert site.pathwise.mean["high"].item() == pytest.approx(4 / 3, rel=0.05)


def test_a_factor_in_the_guide_is_a_site_with_a_score():
    """Hidden draw from N(m, 1) against the prior N(1, 1): the loss' slope is m - 1."""

    def model():
        pyro.sample("z", dist.Normal(1.0, 1.0))

    def guide():
        m = pyro.param("m", torch.tensor(0.2))
        law = dist.Normal(m, 1.0)
        drawn = law.sample((200,))
        pyro.sample("z", dist.Delta(drawn))
        pyro.factor("hidden", law.log_prob(drawn), has_rsample=False)

    elbo = pg.ELBO(num_particles=200, vectorize_particles=True, max_plate_nesting=0)
    found = pg.explain((model, guide, ()), elbo=elbo, num_runs=100, seed=0)
    (site,) = found.sites
    assert site.name == "hidden" and site.pathwise is None
    assert site.score.mean["m"].item() == pytest.approx(-0.8, abs=0.08)
    assert any("pyro.factor in the guide" in text for text in site.warnings)


def test_a_factor_whose_draw_is_reparameterized_is_no_site():
    def model():
        pyro.sample("z", dist.Normal(1.0, 1.0))

    def guide():
        m = pyro.param("m", torch.tensor(0.2))
        law = dist.Normal(m, 1.0)
        drawn = law.rsample((200,))
        pyro.sample("z", dist.Delta(drawn))
        pyro.factor("hidden", law.log_prob(drawn), has_rsample=True)

    elbo = pg.ELBO(num_particles=200, vectorize_particles=True, max_plate_nesting=0)
    found = pg.explain((model, guide, ()), elbo=elbo, num_runs=20, seed=0)
    assert not found.warnings
    assert not any("factor" in text for site in found.sites for text in site.warnings)


def test_a_seed_repeats_and_leaves_the_callers_stream_alone():
    mu = parameter(0.5)
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    one, two = (
        pg.explain(normal(mu), {"mu": mu}, num_runs=5, seed=3) for _ in range(2)
    )
    assert torch.equal(torch.rand(3), want)
    assert one.to_dict() == two.to_dict()
    assert mu.grad is None


class Learner(Chooser):
    """Counts its calls in a buffer, and says how many there have been."""

    name = "learner"

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def update(self, draw, cost):
        self.seen += 1
        self.reason = f"{int(self.seen)} calls"


def test_what_an_elbo_has_learnt_is_used_and_left_alone():
    model, guide, _ = coins(["z"])
    elbo = pg.ELBO(estimators=Learner())
    svi = pyro.infer.SVI(model, guide, pyro.optim.SGD({"lr": 0.0}), elbo)
    for _ in range(7):
        svi.step()
    before = {name: value.clone() for name, value in elbo.state_dict().items()}
    (site,) = pg.explain((model, guide, ()), elbo=elbo, num_runs=5).sites
    assert site.reason.endswith("62 calls)")  # 7, the warm-up's 50, and 5
    after = elbo.state_dict()
    assert before and all(torch.equal(before[name], after[name]) for name in after)


def test_a_table_shows_every_part_and_a_dict_is_json():
    logit = parameter(0.5)
    mu = parameter(0.5, 1.0)

    def program():
        b = pyro.sample("b", dist.Bernoulli(logits=logit))
        x = pyro.sample("x", dist.Normal(mu, 1.0).to_event(1))
        pg.cost("c", (1 + b) * x.square().sum(-1))

    found = pg.explain(
        program, {"logit": logit, "mu": mu}, num_particles=50, num_runs=20, seed=0
    )
    text = str(found)
    lines = text.splitlines()
    (row,) = [line for line in lines if line.startswith("b ")]
    assert row.split()[:3] == ["b", "score_function", "logit"]
    assert row.split()[-2:] == ["none", "0"]
    (row,) = [line for line in lines if line.startswith("x ") and "mu" in line]
    assert row.count("|") == 4  # norms of two parts
    assert "x: reparameterized, default: it has rsample" in lines
    assert str(found.table()) == text
    shown = json.loads(json.dumps(found.to_dict()))
    assert shown["sites"][0]["pathwise"] is None
    assert shown["sites"][1]["score"]["mean"]["mu"] == (
        found.sites[1].score.mean["mu"].tolist()
    )
    assert "b: score_function" in repr(found)


def test_bad_input_is_refused():
    mu = parameter(0.5)
    with pytest.raises(InputError, match="num_runs=1: write 2"):
        pg.explain(normal(mu), {"mu": mu}, num_runs=1)
    with pytest.raises(InputTypeError, match="TraceGraph_ELBO; the parts are"):
        pg.explain(coins(["z"]), elbo=pyro.infer.TraceGraph_ELBO())
    with pytest.raises(InputError, match="elbo and estimators both say"):
        pg.explain(coins(["z"]), elbo=pg.ELBO(), estimators="enumerate")
    with pytest.raises(InputError, match="elbo does not go with an expectation"):
        pg.explain(normal(mu), {"mu": mu}, elbo=pg.ELBO())
    with pytest.raises(InputTypeError, match="found 3"):
        pg.explain(3)
    with pytest.raises(EstimatorError, match="Bernoulli has no rsample"):
        pg.explain(coins(["z"]), estimators="reparameterized")
    with pytest.raises(ProgramError, match="'zz', but no random site"):
        pg.explain(coins(["z"]), estimators={"zz": "enumerate"})
    with pytest.raises(InputError, match="no parameters in Pyro's store"):
        pg.explain((coins(["z"])[0], coins(["z"])[0], ()))


def test_a_flow_that_knows_its_own_draws_only_is_refused_by_name():
    def model():
        pyro.sample("m", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    guide = AutoNormalizingFlow(model, partial(T.iterated, 1, T.planar))
    with pytest.raises(EstimatorError, match="_AutoNormalizingFlow_latent"):
        pg.explain((model, guide, ()), num_runs=2)
