"""The neural baseline: trained on the costs, sealed off from everything else."""

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Categorical, Independent, Normal

import pgplugins as pg
from tests.statistics import flat_gradient, parameter


def cost(x):
    return (x + 3) ** 2


def network():
    return nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1)).double()


def estimate(estimator, law, seed, num_samples=1):
    torch.manual_seed(seed)
    return pg.expectation(cost, law, estimator=estimator, num_samples=num_samples)


def neural(choice="neural"):
    return pg.estimator("score_function", baseline=choice)


MU = parameter(-1.0, 0.0, 2.0)


def law():
    return Normal(MU, 0.5)


def test_the_other_parameters_get_the_gradient_of_a_fixed_guess():
    net = network()
    features = torch.stack([MU.detach(), torch.full((3,), 0.5).double()], -1)
    guess = net(features).squeeze(-1).detach()
    fixed = pg.estimator("score_function", baseline=guess)
    got = flat_gradient(estimate(neural(net), law(), 1).sum(), [MU])
    want = flat_gradient(estimate(fixed, law(), 1).sum(), [MU])
    torch.testing.assert_close(got, want)


def test_the_network_gets_the_gradient_of_its_squared_error():
    net = network()
    loss = estimate(neural(net), law(), 1, num_samples=6).sum()
    got = flat_gradient(loss, list(net.parameters()))
    torch.manual_seed(1)
    x = law().sample((6,))
    features = torch.stack([MU.detach(), torch.full((3,), 0.5).double()], -1)
    error = (cost(x) - net(features).squeeze(-1)) ** 2
    want = flat_gradient(error.mean(0).sum(), list(net.parameters()))
    torch.testing.assert_close(got, want)


def test_the_network_is_asked_once_where_particles_share_their_parameters():
    asked = []

    class Asked(nn.Linear):
        def forward(self, features):
            asked.append(tuple(features.shape))
            return super().forward(features)

    estimator = neural(Asked(2, 1).double())
    estimate(estimator, law(), 1, num_samples=6)
    own = Normal(torch.rand(6, 3).double(), 0.5)
    estimator.gradient_term(estimator.draw(own), torch.zeros(1, 6, 3).double())
    assert asked == [(1, 3, 2), (6, 3, 2)]


def test_the_training_term_is_zero_in_value():
    with_net = estimate(neural(network()), law(), 1, num_samples=5)
    without = estimate(neural(None), law(), 1, num_samples=5)
    assert torch.equal(with_net, without)


def test_nothing_leaks_into_what_the_parameters_are_computed_from():
    root = parameter(0.3)
    net = network()
    estimator = neural(net)
    torch.manual_seed(1)
    draw = estimator.draw(Normal(root.exp().expand(4), 1.0))
    guess = estimator.baseline.guess(draw, torch.full((4,), 7.0).double())
    assert guess.requires_grad
    found = torch.autograd.grad(guess.sum(), [root], allow_unused=True)
    assert found == (None,)


def test_not_even_second_derivatives_mix_the_two():
    net = network()
    loss = estimate(neural(net), law(), 1).sum()
    (gradient,) = torch.autograd.grad(loss, MU, create_graph=True)
    assert not flat_gradient(gradient.sum(), list(net.parameters())).any()


def test_training_teaches_the_mean_cost_in_every_context():
    estimator = neural()
    estimate(estimator, law(), 0)
    weights = list(estimator.parameters())
    for step in range(400):
        loss = estimate(estimator, law(), step, num_samples=64).mean()
        # torch.optim takes ten seconds to import.
        with torch.no_grad():
            for w, g in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                w -= 0.02 * g
    draw = estimator.draw(law())
    guess = estimator.baseline.guess(draw, torch.zeros(3, dtype=torch.float64))
    exact = (MU.detach() + 3) ** 2 + 0.25  # 4.25, 9.25, 25.25
    torch.testing.assert_close(guess.detach(), exact, rtol=0.1, atol=0.3)

    def spread(chosen):
        return torch.stack(
            [flat_gradient(estimate(chosen, law(), i).sum(), [MU]) for i in range(400)]
        ).var(0)

    assert (spread(estimator) < 0.35 * spread(neural(None))).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Bernoulli(logits=torch.zeros(3, dtype=torch.float64)),
        lambda: Categorical(logits=torch.zeros(3, 4)),
        lambda: Independent(Normal(torch.zeros(3, 2), 1.0), 1),
        lambda: torch.distributions.MultivariateNormal(torch.zeros(3, 2), torch.eye(2)),
    ],
)
def test_a_default_network_guesses_once_per_element_also_after_a_look(make):
    estimator = neural()
    for look in ("logits", "probs", "mean"):
        given = make()
        getattr(given, look, None)  # what torch caches is no new feature
        draw = estimator.draw(given)
        guess = estimator.baseline.guess(draw, torch.zeros(3))
        assert guess.shape == (3,)


def test_a_network_of_the_wrong_shape_is_refused():
    with pytest.raises(pg.PgpluginsError, match=r"\(1, 3, 5\).*\(1, 3, 1\)"):
        estimate(neural(nn.Linear(2, 5).double()), law(), 0)


def test_the_network_is_part_of_the_state():
    estimator = neural(network())
    names = set(estimator.state_dict())
    assert {"baseline.network.0.weight", "baseline.network.2.bias"} <= names
