"""``pg.surrogate``: the gradient term of draws that somebody else has made."""

import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from tests.statistics import flat_gradient, parameter

ACTIONS = torch.tensor([0.5, -1.0, 1.5], dtype=torch.float64)
COSTS = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)


def policy():
    mu = parameter(0.2, -0.4, 0.9)
    return mu, dist.Normal(mu, 0.5)


def score(mu):
    return (ACTIONS - mu.detach()) / 0.25


@pytest.mark.parametrize(
    ("baseline", "guess"),
    [
        (None, torch.zeros(3)),
        (torch.tensor(0.25), torch.full((3,), 0.25)),
        (torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 3.0])),
        ("default", torch.tensor([0.5, 2.0, -0.5])),
        ("leave_one_out", torch.tensor([0.5, 2.0, -0.5])),
        ("moving_average", torch.zeros(3)),
    ],
    ids=str,
)
def test_the_gradient_is_cost_less_baseline_times_score(baseline, guess):
    mu, law = policy()
    loss = pg.surrogate(law, ACTIONS, COSTS, baseline=baseline)
    assert torch.equal(loss, torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(
        flat_gradient(loss.sum(), [mu]), (COSTS - guess) * score(mu)
    )


def test_leave_one_out_runs_over_the_first_dimension():
    mu = parameter(0.2, -0.4)
    actions = torch.randn(5, 2, dtype=torch.float64)
    costs = torch.randn(5, 2, dtype=torch.float64)
    law = dist.Normal(mu, 1.0)
    loss = pg.surrogate(law, actions, costs, baseline="leave_one_out")
    others = (costs.sum(0) - costs) / 4
    want = ((costs - others) * (actions - mu.detach())).sum(0)
    torch.testing.assert_close(flat_gradient(loss.sum(), [mu]), want)


def test_a_batch_shape_that_broadcasts_and_events():
    mu = parameter(0.2, -0.4)
    actions = torch.randn(7, 2, dtype=torch.float64)
    costs = torch.randn(7, dtype=torch.float64)
    law = dist.Normal(mu, 1.0).to_event(1)
    loss = pg.surrogate(law, actions, costs, baseline=None)
    assert loss.shape == (7,)
    want = (costs.unsqueeze(-1) * (actions - mu.detach())).sum(0)
    torch.testing.assert_close(flat_gradient(loss.sum(), [mu]), want)


def test_discrete_actions():
    logits = parameter(0.3, -0.2, 0.9)
    actions = torch.tensor([2, 0, 1, 2])
    costs = torch.tensor([1.0, 2.0, -1.0, 0.5], dtype=torch.float64)
    loss = pg.surrogate(dist.Categorical(logits=logits), actions, costs, baseline=None)
    scores = torch.eye(3).double()[actions] - torch.softmax(logits.detach(), -1)
    want = (costs.unsqueeze(-1) * scores).sum(0)
    torch.testing.assert_close(flat_gradient(loss.sum(), [logits]), want)


def test_attached_actions_and_costs_are_detached():
    # With rsample and nothing detached the gradient of the mean would vanish.
    mu, law = policy()
    actions = law.rsample()
    costs = (actions - 2) ** 2
    loss = pg.surrogate(law, actions, costs, baseline=None)
    held = actions.detach()
    want = (held - 2) ** 2 * (held - mu.detach()) / 0.25
    torch.testing.assert_close(flat_gradient(loss.sum(), [mu]), want)


def test_a_neural_baseline_is_trained():
    _, law = policy()
    net = torch.nn.Linear(2, 1).double()
    loss = pg.surrogate(law, ACTIONS, COSTS, baseline=net)
    features = torch.stack([law.loc.detach(), torch.full((3,), 0.5).double()], -1)
    want = flat_gradient(
        ((COSTS - net(features).squeeze(-1)) ** 2).sum(), list(net.parameters())
    )
    got = flat_gradient(loss.sum(), list(net.parameters()))
    torch.testing.assert_close(got, want)


def test_an_instance_keeps_learning():
    mu, law = policy()
    estimator = pg.estimator("score_function", baseline="moving_average")
    pg.surrogate(law, ACTIONS, COSTS + 10, estimator=estimator)
    loss = pg.surrogate(law, ACTIONS, COSTS, estimator=estimator)
    guess = (COSTS + 10).mean()
    torch.testing.assert_close(
        flat_gradient(loss.sum(), [mu]),
        (COSTS - guess) * score(mu),
        rtol=1e-5,
        atol=1e-5,
    )


def test_a_class_takes_a_baseline():
    mu, law = policy()
    cls = type(pg.estimator("score_function"))
    loss = pg.surrogate(law, ACTIONS, COSTS, estimator=cls, baseline=None)
    torch.testing.assert_close(flat_gradient(loss.sum(), [mu]), COSTS * score(mu))


def test_a_wrapped_distribution_is_seen_through():
    mu, law = policy()
    wrapped = pg.wrap(law, "score_function")
    loss = pg.surrogate(wrapped, ACTIONS, COSTS, baseline=None)
    torch.testing.assert_close(flat_gradient(loss.sum(), [mu]), COSTS * score(mu))


S = pg.surrogate
_, LAW = policy()
NAN = torch.tensor([1.0, float("nan"), 2.0], dtype=torch.float64)
REFUSED = {
    "too few costs": (lambda: S(LAW, ACTIONS, COSTS[:2]), ["(3,)", "(2,)", "cost"]),
    "a cost per event element": (
        lambda: S(LAW.to_event(1), ACTIONS, COSTS),
        ["()", "(3,)", "One cost per recorded draw"],
    ),
    "batches that do not agree": (
        lambda: S(LAW, torch.zeros(4).double(), torch.zeros(4).double()),
        ["(3,)", "(4,)", "broadcast"],
    ),
    "events that do not agree": (
        lambda: S(LAW.to_event(1), torch.zeros(5, 2).double(), torch.zeros(5).double()),
        ["(5, 2)", "(3,)"],
    ),
    "a cost that is nan": (lambda: S(LAW, ACTIONS, NAN), ["cost", "nan", "1 of 3"]),
    "a density that is not finite": (
        lambda: S(
            dist.Uniform(
                torch.zeros(3).double(), torch.ones(3).double(), validate_args=False
            ),
            ACTIONS,
            COSTS,
        ),
        ["log-density", "infinite", "2 of 3"],
    ),
    "an estimator with rows": (
        lambda: S(dist.Bernoulli(COSTS.abs() / 4), COSTS, COSTS, estimator="enumerate"),
        ["enumerate", "draw", "score_function"],
    ),
    "a pathwise estimator": (
        lambda: S(LAW, ACTIONS, COSTS, estimator="reparameterized"),
        ["reparameterized", "recorded"],
    ),
    "the hybrid": (
        lambda: S(LAW, ACTIONS, COSTS, estimator="hybrid"),
        ["hybrid", "recorded"],
    ),
    "an instance and a baseline": (
        lambda: S(
            LAW,
            ACTIONS,
            COSTS,
            estimator=pg.estimator("score_function"),
            baseline="leave_one_out",
        ),
        ["baseline", "configured already"],
    ),
    "no distribution": (lambda: S(ACTIONS, ACTIONS, COSTS), ["dist", "Tensor"]),
    "no tensor": (lambda: S(LAW, 1.0, COSTS), ["value", "float"]),
    "a cost that is a list": (lambda: S(LAW, ACTIONS, [1.0]), ["cost", "list"]),
    "an unknown baseline": (
        lambda: S(LAW, ACTIONS, COSTS, baseline="leave_two_out"),
        ["leave_two_out", "leave_one_out"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_words(name):
    call, words = REFUSED[name]
    with pytest.raises(pg.PgpluginsError) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


MASK = torch.tensor([[True, True, False], [True, False, False]])


def test_masked_steps_contribute_nothing_whatever_they_hold():
    logits = parameter(0.3, -0.2, 0.9)
    actions = torch.tensor([[2, 0, -1], [1, 99, -1]])  # padding is no action
    costs = torch.tensor([[1.0, 2.0, torch.nan], [-1.0, torch.inf, torch.nan]]).double()
    guess = torch.full((2, 3), torch.nan).double().masked_fill(MASK, 0.5)
    for baseline, value in ((None, 0.0), (guess, 0.5)):
        law = dist.Categorical(logits=logits)
        terms = pg.surrogate(law, actions, costs, baseline=baseline, mask=MASK)
        assert torch.equal(terms, torch.zeros(2, 3).double())
        scores = torch.eye(3).double()[actions[MASK]] - logits.detach().softmax(-1)
        want = ((costs[MASK] - value).unsqueeze(-1) * scores).sum(0)
        torch.testing.assert_close(flat_gradient(terms.sum(), [logits]), want)


def test_a_mask_with_events():
    mu = parameter(0.2, -0.4)
    law = dist.Normal(mu, 1.0).to_event(1)
    actions, costs = torch.randn(2, 3, 2).double(), torch.randn(2, 3).double()
    actions[~MASK] = torch.nan
    terms = pg.surrogate(law, actions, costs, mask=MASK)
    want = (costs[MASK].unsqueeze(-1) * (actions[MASK] - mu.detach())).sum(0)
    torch.testing.assert_close(flat_gradient(terms.sum(), [mu]), want)


def test_a_mask_with_an_instance_that_has_a_baseline():
    mu, law = policy()
    estimator = pg.estimator("score_function", baseline=torch.tensor(0.5).double())
    mask = torch.tensor([True, False, True])
    terms = pg.surrogate(law, ACTIONS, COSTS, estimator=estimator, mask=mask)
    want = ((COSTS - 0.5) * score(mu)).where(mask, 0.0)
    torch.testing.assert_close(flat_gradient(terms.sum(), [mu]), want)


MASK_REFUSED = {
    "numbers": ({"mask": torch.ones(3)}, ["mask", "bool", "float"]),
    "another shape": ({"mask": MASK}, ["(2, 3)", "(3,)"]),
    "no step": ({"mask": torch.zeros(3).bool()}, ["no step"]),
    "a baseline that pools": (
        {"mask": MASK[0], "baseline": "leave_one_out"},
        ["LeaveOneOut", "pg.rl.leave_one_out"],
    ),
    "an instance whose baseline pools": (
        {
            "mask": MASK[0],
            "estimator": pg.estimator("score_function", baseline="moving_average"),
        },
        ["MovingAverage", "masked"],
    ),
    "a baseline of another shape": (
        {"mask": MASK[0], "baseline": torch.zeros(4)},
        ["baseline", "(4,)", "(3,)"],
    ),
}


@pytest.mark.parametrize("name", MASK_REFUSED)
def test_a_mask_refused_in_words(name):
    options, words = MASK_REFUSED[name]
    with pytest.raises(pg.PgpluginsError) as caught:
        pg.surrogate(LAW, ACTIONS, COSTS, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)
