"""`auto` on plain expectations: unbiased at every stage, and the right choice."""

import math
import warnings
from itertools import pairwise

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Independent, Normal, Uniform

import pgplugins as pg
from pgplugins.errors import DiscontinuousCostWarning
from pgplugins.selection.audit import FEWEST, JUMPS
from pgplugins.selection.race import cost_of
from pgplugins.testing.estimation import Estimation
from pgplugins.testing.problems.scripted import scripted
from pgplugins.testing.script import exact_mean
from tests.statistics import assert_mean, gradients, parameter, per_sample

SCRIPTED = {problem.name: problem for problem in scripted()}


def learn(auto, cost, law, n, calls):
    for _ in range(calls):
        pg.expectation(cost, law(), estimator=auto, num_samples=n).backward()
    return auto


# Unbiased at every stage --------------------------------------------------------------


@pytest.mark.parametrize("warm", [0, 1, 2, 12, 40, 80])
@pytest.mark.parametrize("name", ["coin", "die"])
def test_every_estimate_of_a_discrete_choice_has_the_exact_mean(name, warm):
    """Over all paths of two estimates in a row, from the state after ``warm`` calls.

    Candidates that draw besides the script (sets without replacement) are sampled by
    the conformance kit.
    """
    auto = pg.estimator("auto", candidates=("enumerate", "score_function"))
    start = Estimation(SCRIPTED[name], auto, 2)
    for _ in range(warm):
        start.once()

    def run():
        estimation = start.copy()
        return torch.cat([estimation.once(), estimation.once()])

    mean = exact_mean(run, limit=2000)
    assert mean.told
    torch.testing.assert_close(mean.value, start.truth.repeat(2), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("warm", [0, FEWEST - 1, FEWEST + 3, FEWEST + 90])
def test_every_estimate_of_a_continuous_choice_has_the_exact_mean(warm):
    """While the path is looked at, while candidates take turns, and afterwards."""
    start = Estimation(SCRIPTED["bell"], pg.estimator("auto"), 1)
    torch.manual_seed(1)
    for _ in range(warm):
        start.once()
    mean = exact_mean(lambda: start.copy().once())
    assert mean.told
    torch.testing.assert_close(mean.value, start.truth, rtol=1e-9, atol=1e-9)


def jump(x):
    return 5.0 * (x > 0.2).double() + 0.1 * x


def jump_gradient(mu, s):
    """Exact gradient of the expected jump cost for mean and scale."""
    z = (0.2 - mu) / s
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return torch.tensor([5 * density / s + 0.1, 5 * density * z / s])


@pytest.mark.parametrize("warm", [0, 20, FEWEST + 30])
def test_a_cost_that_jumps_is_never_met_by_its_path(warm):
    mu, s = parameter(-0.4), parameter(1.3)
    auto = learn(pg.estimator("auto"), jump, lambda: Normal(mu, s), 32, warm)
    if warm > FEWEST:
        assert auto.choice == "lax"
        assert "not continuous" in auto.reason

    def loss(mu, s):
        return pg.expectation(jump, Normal(mu, s), estimator=auto, num_samples=2)

    found = per_sample(loss, [mu, s], 400_000)
    assert_mean(found, jump_gradient(-0.4, 1.3))


def test_a_jump_that_the_path_is_used_at_would_be_seen():
    """The test above has the power to see what `reparameterized` makes of the cost."""
    mu, s = parameter(-0.4), parameter(1.3)

    def loss(mu, s):
        estimator = "reparameterized"
        return pg.expectation(jump, Normal(mu, s), estimator=estimator, num_samples=2)

    with pytest.raises(AssertionError, match="exact"):
        assert_mean(per_sample(loss, [mu, s], 400_000), jump_gradient(-0.4, 1.3))


def test_a_flat_cost_is_no_error_and_has_its_gradient():
    mu = parameter(0.1)
    auto = pg.estimator("auto")

    def step(x):
        return (x > 0.2).double()

    learn(auto, step, lambda: Normal(mu, 1.0), 16, 100)
    assert auto.choice == "lax"
    assert "no gradient" in auto.reason
    found = gradients(
        lambda: pg.expectation(step, Normal(mu, 1.0), estimator=auto, num_samples=2000),
        [mu],
        400,
    )
    exact = math.exp(-0.005) / math.sqrt(2 * math.pi)
    assert_mean(found, torch.tensor([exact]))


def test_a_path_that_was_asked_for_is_left_when_the_cost_begins_to_jump():
    mu = parameter(0.0)
    names = ("reparameterized", "score_function")
    auto = pg.estimator("auto", candidates=names)
    height = 0.0

    def cost(x):
        return x + height * (x > 0.2).double()

    def law():
        return Normal(mu, 1.0)

    learn(auto, cost, law, 32, 150)
    assert auto.choice == "reparameterized"
    height = 5.0
    with pytest.warns(DiscontinuousCostWarning, match="were biased"):
        learn(auto, cost, law, 32, 400)
    assert auto.choice == "score_function"
    found = gradients(
        lambda: pg.expectation(cost, law(), estimator=auto, num_samples=500), [mu], 400
    )
    exact = 1 + 5 * math.exp(-0.02) / math.sqrt(2 * math.pi)
    assert_mean(found, torch.tensor([exact]))


def test_a_hybrid_that_falls_back_is_left_with_a_warning():
    mu = parameter(0.0)
    auto = pg.estimator("auto")
    learn(auto, lambda x: x**3 + x, lambda: Normal(mu, 1.0), 32, 150)
    assert auto.choice == "hybrid"
    with pytest.warns(DiscontinuousCostWarning, match='"auto"'):
        learn(auto, jump, lambda: Normal(mu, 1.0), 32, 600)
    assert auto.choice == "lax"


# The choice ---------------------------------------------------------------------------


def quadratic_variances(d, s):
    """Total variance of one sample's gradient for mean and scale (closed forms)."""
    q = s * s
    return {
        "score_function": d**4 / q + 14 * d**2 + 15 * q
        + 2 * d**4 / q + 60 * d**2 + 74 * q,
        "reparameterized": 4 * q + 4 * d**2 + 8 * q,
        "measure_valued": 4 * d**2 * (4 / math.pi - 1) + 4 * d**2 + 4 * q,
    }  # fmt: skip


ROWS = {"score_function": 1, "reparameterized": 1, "measure_valued": 5}


@pytest.mark.parametrize(("d", "s"), [(1.2, 0.8), (0.1, 0.5), (3.0, 0.4), (0.0, 3.0)])
def test_the_second_moments_are_those_in_closed_form(d, s):
    mu, scale = parameter(d), parameter(s)
    candidates = (
        pg.estimator("score_function", baseline=None),
        "reparameterized",
        "measure_valued",
    )
    auto = pg.estimator("auto", candidates=candidates)
    learn(auto, lambda x: x**2, lambda: Normal(mu, scale), 4000, 130)
    signal = 4 * d * d + 4 * s * s
    expected = {}
    for index, name in enumerate(c.name for c in auto.candidates):
        exact = quadratic_variances(d, s)[name]
        found = auto.turns.race.standing(index)
        # At least 8 calls of 4,000 rows: the standard error of a variance of heavy
        # tails (squares of scores) is below 3% here.
        assert found.variance == pytest.approx(exact, rel=0.15), name
        assert found.cost == cost_of(ROWS[name])
        expected[name] = (signal + exact) * found.cost
    near = min(expected.values()) * 1.2
    first = next(name for name in expected if expected[name] < near)
    tried = [expected[name] / near for name in list(expected)]
    close = [r for r in tried[: list(expected).index(first) + 1] if 0.95 < r < 1.05]
    assert not close, "too close to call: no test of the choice"
    assert auto.choice == first


@pytest.mark.parametrize("logit", [-2.5, 0.4, 3.0])
@pytest.mark.parametrize("level", [0.3, 20.0])
def test_coupled_draws_are_held_against_leave_one_out(logit, level):
    """The closed forms for one Bernoulli, n = 4, of both candidates."""
    n, theta = 4, torch.sigmoid(torch.tensor(logit)).item()
    q, slope = theta * (1 - theta), 1 - 2 * level
    score = slope**2 * (q * (1 - 3 * q) - q * q * (n - 3) / (n - 1)) / n * n
    disarm = q * slope**2 * (max(theta, 1 - theta) / 2 - q)
    signal = (q * slope) ** 2
    b = parameter(logit)
    auto = pg.estimator("auto", candidates=("disarm", "score_function"))
    costs = {"disarm": (signal + disarm) * 12, "score_function": (signal + score) * 11}
    many = 2000  # independent replicates of the four draws, in a batch

    def law():
        return Bernoulli(logits=b.expand(many))

    for _ in range(100):
        loss = pg.expectation(
            lambda x: (x - level) ** 2, law(), estimator=auto, num_samples=n
        )
        loss.sum().backward()
    for index, exact in enumerate((disarm, score)):
        found = auto.turns.race.standing(index).variance / many
        assert found == pytest.approx(exact, rel=0.1)
    assert auto.choice == (
        "disarm"
        if costs["disarm"] < 1.2 * costs["score_function"]
        else "score_function"
    )


def test_a_small_support_is_enumerated_and_the_reason_has_numbers():
    b = parameter(0.4)
    auto = pg.estimator("auto")
    assert auto.choice is auto.reason is None
    learn(auto, lambda x: (x - 0.3) ** 2, lambda: Bernoulli(logits=b), 16, 1)
    assert auto.choice == "score_function"
    assert "taking turns" in auto.reason
    learn(auto, lambda x: (x - 0.3) ** 2, lambda: Bernoulli(logits=b), 16, 59)
    assert auto.choice == "enumerate"
    exact = (0.4 * math.exp(0.4) / (1 + math.exp(0.4)) ** 2) ** 2
    assert f"E|g|^2 T is {exact:.3g} x 12, against" in auto.reason
    assert "x 11 for score_function" in auto.reason


def test_a_support_that_is_too_large_is_not_enumerated_and_the_reason_says_so():
    b = parameter(*[0.1] * 20)
    auto = pg.estimator("auto")
    learn(
        auto,
        lambda x: (x.sum(-1) - 7) ** 2,
        lambda: Independent(Bernoulli(logits=b), 1),
        8,
        200,
    )
    assert auto.choice == "measure_valued"
    assert "without enumerate: its support has 2^20 = 1048576 points" in auto.reason
    assert "max_rows=256" in auto.reason


def test_a_dear_enumeration_gives_way_where_its_rows_are_not_worth_it():
    """With two hundred values and hardly any noise the rows decide."""
    logits = parameter(*torch.zeros(200).tolist())

    def cost(x):
        return 1.0 + (x >= 100).double()

    auto = pg.estimator("auto", candidates=("enumerate", "score_function"))
    learn(auto, cost, lambda: Categorical(logits=logits), 64, 100)
    cheap, dear = auto.turns.race.standing(1), auto.turns.race.standing(0)
    assert dear.cost == 210
    assert auto.choice == (
        "score_function" if cheap.criterion < dear.criterion else "enumerate"
    )


def test_what_can_only_follow_its_path_does():
    high = parameter(2.0)
    auto = pg.estimator("auto")
    learn(auto, lambda x: x**2, lambda: Uniform(0.0, high), 16, 5)
    assert auto.choice == "reparameterized"
    found = gradients(
        lambda: pg.expectation(
            lambda x: x**2, Uniform(0.0, high), estimator=auto, num_samples=100
        ),
        [high],
        400,
    )
    assert_mean(found, torch.tensor([4.0 / 3.0]))


def test_a_candidate_is_refused_with_the_reasons_of_all():
    auto = pg.estimator("auto", candidates=("enumerate", "disarm"))
    with pytest.raises(pg.PgpluginsError) as caught:
        pg.expectation(lambda x: x, Normal(parameter(0.0), 1.0), estimator=auto)
    assert "enumerate: Normal has no finite support" in str(caught.value)
    assert "disarm: Normal has no coupling" in str(caught.value)


@pytest.mark.parametrize(
    ("candidates", "words"),
    [
        ("hybrid", ["a sequence", "'hybrid'"]),
        ((), ["one or more"]),
        (("hybrid", "hybrid"), ["hybrid", "more than once"]),
        (("straight_through",), ["straight_through", "biased", "never"]),
        (("auto",), ["auto", "chooses among others itself"]),
        (("hybird",), ["Did you mean 'hybrid'"]),
    ],
)
def test_candidates_that_cannot_be_are_refused(candidates, words):
    with pytest.raises(pg.PgpluginsError) as caught:
        pg.estimator("auto", candidates=candidates)
    assert all(word in str(caught.value) for word in words)


def test_candidates_keep_their_options():
    one = pg.estimator("score_function", baseline="moving_average")
    auto = pg.estimator("auto", candidates=(one, "lax"))
    assert auto.candidates[0] is one


# Hysteresis ---------------------------------------------------------------------------


class Alike(pg.Estimator):
    """The score function under another name: no better, no worse."""

    name = "alike"
    traits = pg.estimator("score_function").traits

    def draw(self, dist):
        return pg.Draw(dist=dist, value=dist.sample().unsqueeze(0))

    def gradient_term(self, draw, cost):
        return draw.score_term(cost)[0]


def test_it_does_not_flap_between_equals():
    b = parameter(0.3)
    plain = pg.estimator("score_function", baseline=None)
    auto = pg.estimator("auto", candidates=(plain, Alike()))
    settled = []
    for _ in range(1500):
        pg.expectation(
            lambda x: x + 1, Bernoulli(logits=b), estimator=auto, num_samples=2
        ).backward()
        if not auto.turns.race.contestants:
            settled.append(auto.turns.holder)
    races = sum(a != b for a, b in pairwise(settled))
    assert races <= 1
    assert len(settled) > 0.75 * 1500


def test_it_follows_an_objective_that_changes():
    """A path is best for a straight cost, and worst for one that oscillates."""
    mu = parameter(0.0)
    auto = pg.estimator("auto", candidates=("reparameterized", "score_function"))
    frequency = 5.0

    def cost(x):
        return torch.sin(frequency * x) / frequency + torch.sin(frequency * x) + x

    def law():
        return Normal(mu, 1.0)

    learn(auto, cost, law, 16, 150)
    assert auto.choice == "score_function"
    frequency = 0.1
    for _ in range(12):
        learn(auto, cost, law, 16, 250)
        if auto.choice == "reparameterized":
            break
    assert auto.choice == "reparameterized"


def test_those_passed_over_add_little_to_the_noise():
    """A share of the calls, by how much worse they are."""
    mu = parameter(0.0)
    auto = pg.estimator("auto", candidates=("reparameterized", "score_function"))
    learn(auto, lambda x: x + 0.3 * x**2, lambda: Normal(mu, 1.0), 16, 200)
    mine, its = (auto.turns.race.standing(i) for i in (0, 1))
    assert auto.choice == "reparameterized"
    worse = its.criterion / mine.criterion
    assert worse > 1.5
    others = 0
    for _ in range(1000):
        learn(auto, lambda x: x + 0.3 * x**2, lambda: Normal(mu, 1.0), 16, 1)
        others += auto.choice == "score_function"
    assert others / 1000 * worse < 0.06


# State --------------------------------------------------------------------------------


def trajectory(auto, calls, seed):
    """Return gradients and choices of some calls from a seed."""
    torch.manual_seed(seed)
    mu, s = parameter(0.5), parameter(1.2)
    found, choices = [], []
    for _ in range(calls):
        loss = pg.expectation(
            lambda x: x**3 + x, Normal(mu, s), estimator=auto, num_samples=8
        )
        found.append(torch.stack(torch.autograd.grad(loss, (mu, s))))
        choices.append(auto.choice)
    return torch.stack(found), choices


def test_a_seed_reproduces_every_estimate_and_every_choice():
    first, second = (trajectory(pg.estimator("auto"), 150, 3) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert first[1] == second[1]
    assert {"lax", "hybrid"} == set(first[1])


@pytest.mark.parametrize("before", [1, 20, FEWEST, FEWEST + 15, 140])
def test_a_checkpoint_resumes_exactly(before):
    auto = pg.estimator("auto")
    trajectory(auto, before, 0)
    resumed = pg.estimator("auto")
    resumed.load_state_dict(auto.state_dict())
    went_on = trajectory(auto, 120, 1)
    again = trajectory(resumed, 120, 1)
    assert again[1] == went_on[1]
    assert torch.equal(again[0], went_on[0])


def test_without_a_gradient_nothing_is_learned_and_nothing_fails():
    auto = pg.estimator("auto")
    with torch.no_grad():
        for _ in range(80):
            pg.expectation(lambda x: x, Bernoulli(0.3), estimator=auto, num_samples=4)
    assert not auto.turns.race.calls.any()


def test_no_warning_is_given_where_nothing_is_wrong():
    mu = parameter(0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn(pg.estimator("auto"), lambda x: x.exp(), lambda: Normal(mu, 1.0), 8, 400)


def test_the_verdict_on_a_jump_is_not_taken_back():
    mu = parameter(0.0)
    auto = pg.estimator("auto")
    learn(auto, jump, lambda: Normal(mu, 1.0), 32, 100)
    assert int(auto.standings.audit.verdict) == JUMPS
    learn(auto, lambda x: x, lambda: Normal(mu, 1.0), 32, 100)
    assert auto.choice == "lax"
