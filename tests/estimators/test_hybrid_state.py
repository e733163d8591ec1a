"""What the hybrid remembers: pooled over the batch, saved, and restored to the bit."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import Normal

import pgplugins as pg
from tests.statistics import assert_mean, parameter


def cost(x):
    return x**3 + x


def call(estimator, batch, num_samples, cost=cost, dtype=torch.float64):
    mu = torch.full(batch, 0.8, dtype=dtype, requires_grad=True)
    s = torch.full(batch, 1.1, dtype=dtype, requires_grad=True)
    loss = pg.expectation(
        cost, Normal(mu, s), estimator=estimator, num_samples=num_samples
    )
    return torch.stack(torch.autograd.grad(loss.sum(), [mu, s]), -1)


def shapes(estimator):
    return {
        k: tuple(v.shape)
        for k, v in estimator.state_dict().items()
        if "waiting" not in k  # a few calls wait as they are
    }


def test_a_new_minibatch_size_changes_nothing():
    estimator = pg.estimator("hybrid")
    seen = []
    for batch, n in [((8,), 4), ((3,), 16), ((), 64), ((2, 5), 3), ((1,), 40)]:
        for _ in range(4):
            call(estimator, batch, n)
        seen.append(shapes(estimator))
    assert all(s == seen[0] for s in seen)
    assert seen[0]


def test_batch_and_samples_are_pooled():
    pooled, apart = pg.estimator("hybrid"), pg.estimator("hybrid")
    for t in range(20):
        torch.manual_seed(t)
        by_batch = call(pooled, (32,), 1)
        torch.manual_seed(t)
        by_sample = call(apart, (1,), 32)
        torch.testing.assert_close(by_batch.mean(0), by_sample[0])


def test_a_saved_state_gives_the_same_gradients_to_the_bit():
    estimator = pg.estimator("hybrid")
    for _ in range(20):
        call(estimator, (8,), 2)
    saved = copy.deepcopy(estimator.state_dict())
    other = pg.estimator("hybrid")
    other.load_state_dict(saved)
    for t in range(10):
        torch.manual_seed(t)
        want = call(estimator, (8,), 2)
        torch.manual_seed(t)
        assert torch.equal(call(other, (8,), 2), want)
    for key, value in estimator.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)


def test_a_deep_copy_learns_on_its_own():
    estimator = pg.estimator("hybrid")
    for _ in range(10):
        call(estimator, (8,), 2)
    before = copy.deepcopy(estimator.state_dict())
    twin = copy.deepcopy(estimator)
    for _ in range(10):
        call(twin, (8,), 2)
    after = estimator.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())


@pytest.mark.parametrize("max_parameters", [3, 256])
def test_wide_sites(max_parameters):
    estimator = pg.estimator("hybrid", max_parameters=max_parameters)
    width = 5
    target = torch.linspace(-1, 1, width, dtype=torch.float64)
    mu0 = torch.linspace(0.5, 1.5, width, dtype=torch.float64)

    def wide(x):
        return (x**3).sum(-1) + (x * target).sum(-1) ** 2

    found, path = [], []
    torch.manual_seed(0)
    for t in range(500):
        grads = []
        for chosen in (estimator, "reparameterized"):
            mu = mu0.expand(16, width).clone().requires_grad_()
            law = torch.distributions.Independent(Normal(mu, 1.0), 1)
            loss = pg.expectation(wide, law, estimator=chosen)
            grads.append(torch.autograd.grad(loss.sum(), mu)[0].mean(0))
        found.append(grads[0])
        path.append(grads[1])
        if t == 100:
            start = t
    found, path = torch.stack(found), torch.stack(path)
    exact = 3 * (mu0**2 + 1) + 2 * target * (mu0 @ target)
    assert_mean(found, exact)
    # Own columns alone cannot explain what the sum's square mixes in.
    ratio = found[start:].var(0).sum() / path[start:].var(0).sum()
    assert ratio < (0.6 if max_parameters == 3 else 0.35)


@pytest.mark.parametrize("width", [5, 50])
def test_the_state_of_a_wide_site_grows_with_its_width_alone(width):
    estimator = pg.estimator("hybrid", max_parameters=4)
    law = torch.distributions.Independent(Normal(parameter([0.0] * width), 1.0), 1)
    for _ in range(10):
        pg.expectation(
            lambda x: (x**2).sum(-1), law, estimator=estimator, num_samples=16
        ).backward()
    kept = estimator.state_dict()
    numbers = sum(v.numel() for v in kept.values())
    assert 2 * width < numbers < 80 * width


def test_a_single_precision_site_keeps_its_precision():
    estimator = pg.estimator("hybrid")
    for _ in range(10):
        got = call(estimator, (8,), 2, dtype=torch.float32)
    assert got.dtype == torch.float32
    again = call(estimator, (8,), 2, dtype=torch.float64)
    assert again.dtype == torch.float64


def test_a_cost_that_batch_elements_share():
    estimator = pg.estimator("hybrid")
    found = []
    mu0 = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    torch.manual_seed(0)
    for _ in range(500):
        mu = mu0.clone().requires_grad_()
        loss = pg.expectation(
            lambda x: x.sum(-1) ** 2,
            Normal(mu, 1.0),
            estimator=estimator,
            num_samples=16,
        )
        found.append(torch.autograd.grad(loss, mu)[0])
    assert_mean(torch.stack(found), (2 * mu0.sum()).expand(3))


def test_a_cost_that_is_shared_within_a_batch():
    estimator = pg.estimator("hybrid")
    parameters = parameter(0.4, 1.2)
    found = []
    torch.manual_seed(0)
    for _ in range(500):
        mu = parameters.detach().clone().requires_grad_()
        law = Normal(mu.unsqueeze(-1).expand(2, 64), 1.0)
        loss = pg.expectation(
            lambda x: x[:, 0] * x[:, 1] ** 2, law, estimator=estimator
        )
        found.append(torch.autograd.grad(loss.mean(), mu)[0])
    # E = mu_0 (mu_1^2 + 1)
    assert_mean(torch.stack(found), torch.tensor([1.2**2 + 1, 2 * 0.4 * 1.2]))


def test_a_loss_can_be_evaluated_without_gradients():
    mu = parameter(0.4)
    with torch.no_grad():
        torch.manual_seed(0)
        value = pg.expectation(cost, Normal(mu, 1.0), estimator="hybrid", num_samples=4)
        torch.manual_seed(0)
        x = Normal(mu, 1.0).sample((4,))
    assert value.item() == pytest.approx(cost(x).mean().item())


def test_it_starts_afresh_when_other_parameters_are_varied():
    estimator = pg.estimator("hybrid")
    mu, s = parameter(0.8), parameter(1.1)

    def gradient(scale):
        law = Normal(mu, scale)
        loss = pg.expectation(
            lambda x: (x - 2) ** 2, law, estimator=estimator, num_samples=64
        )
        return torch.autograd.grad(loss, mu)[0]

    for scale in (s, s.detach(), s):
        early = torch.stack([gradient(scale) for _ in range(3)])
        for _ in range(40):
            gradient(scale)
        late = torch.stack([gradient(scale) for _ in range(20)])
        # Pathwise at first, with variance 4 s^2 / 64; then explained away.
        assert early.std() > 20 * late.std()


def test_a_site_above_that_tunes_itself_teaches_nothing():
    """rebar differentiates gradients, which are no paths of a cost."""
    learned = []
    for tune in (False, True):
        logit = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        mean = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)

        def program(logit=logit, mean=mean):
            a = pyro.sample("a", dist.Bernoulli(logits=logit))
            x = pyro.sample("x", dist.Normal(mean + a, 1.0))
            pg.cost("c", (x - 2 * a) ** 2)

        chosen = {"a": pg.estimator("rebar", tune=tune), "x": "hybrid"}
        objective = pg.ExpectedCost(estimators=chosen, num_particles=200)
        torch.manual_seed(0)
        objective(program).backward()
        learned.append(objective.estimator_of("x").state_dict())
    torch.testing.assert_close(*learned, rtol=0, atol=0)
