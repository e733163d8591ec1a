"""The objective in SVI, as a torch module, and with Pyro's modules."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import constraints
from pyro.distributions.testing.fakes import NonreparameterizedNormal
from pyro.infer import SVI, Trace_ELBO
from pyro.nn import PyroModule, PyroParam, PyroSample

import pgplugins as pg
from tests.infer.same import assert_same, gradients, ours, step

SCORED = pytest.mark.parametrize(
    "normal", [dist.Normal, NonreparameterizedNormal], ids=["path", "score"]
)
inputs = torch.tensor([[0.5, -1.0], [1.5, 0.3], [-0.7, 0.9]], dtype=torch.float64)
outputs = torch.tensor([0.2, 1.1, -0.6], dtype=torch.float64)


class Model(PyroModule):
    """Regression whose weights are a PyroSample and whose bias is learnt."""

    def __init__(self):
        super().__init__()
        self.linear = PyroModule[torch.nn.Linear](2, 1)
        self.linear.weight = PyroSample(
            dist.Normal(0.0, 1.0).expand([1, 2]).to_event(2)
        )

    def forward(self, x, y=None):
        mean = self.linear(x).squeeze(-1)
        with pyro.plate("data", 3):
            pyro.sample("y", dist.Normal(mean, 0.5), obs=y)


class Guide(PyroModule):
    def __init__(self, normal):
        super().__init__()
        self.normal = normal
        self.loc = torch.nn.Parameter(torch.tensor([[0.3, -0.2]]))
        self.scale = PyroParam(torch.full((1, 2), 0.6), constraint=constraints.positive)

    def forward(self, x, y=None):
        pyro.sample("linear.weight", self.normal(self.loc, self.scale).to_event(2))


def modules(normal):
    torch.manual_seed(3)
    return Model(), Guide(normal)


@SCORED
@pytest.mark.parametrize("count", [1, 3])
def test_modules(normal, count):
    for seed in range(2):
        results = [
            step(elbo, *modules(normal), inputs, outputs, seed=seed)
            for elbo in (ours(num_particles=count), Trace_ELBO(num_particles=count))
        ]
        assert_same(*results)
        assert len(results[0][1]) >= 3


@SCORED
def test_as_a_torch_module(normal):
    def run(elbo):
        pyro.clear_param_store()
        model, guide = modules(normal)
        objective = elbo(model, guide)
        optimizer = torch.optim.Adam(objective.parameters(), lr=0.05)
        pyro.set_rng_seed(0)
        losses = []
        for _ in range(5):
            optimizer.zero_grad()
            loss = objective(inputs, y=outputs)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses, dict(objective.named_parameters())

    with pyro.settings.context(module_local_params=True):
        (losses, mine), (their_losses, theirs) = run(ours()), run(Trace_ELBO())
    assert mine.keys() == theirs.keys() and len(mine) == 3
    assert losses == pytest.approx(their_losses, rel=1e-9)
    for name, parameter in mine.items():
        torch.testing.assert_close(parameter, theirs[name], rtol=1e-9, atol=1e-9)


@SCORED
@pytest.mark.parametrize(
    "particles",
    [{}, {"num_particles": 3}, {"num_particles": 3, "vectorize_particles": True}],
    ids=["one", "loop", "side by side"],
)
def test_svi_walks_the_same_path(normal, particles):
    def model():
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 3, subsample_size=2) as i:
            pyro.sample("x", dist.Normal(m, 0.5), obs=outputs[i])

    def guide():
        scale = pyro.param("s", torch.tensor(0.6), constraint=constraints.positive)
        pyro.sample("m", normal(pyro.param("loc", torch.tensor(0.1)), scale))

    def run(elbo):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), elbo)
        losses = [svi.step() for _ in range(6)] + [svi.evaluate_loss()]
        return losses, pyro.param("loc").item(), pyro.param("s").item()

    (losses, *found), (their_losses, *theirs) = (
        run(ours(**particles)),
        run(Trace_ELBO(**particles)),
    )
    assert losses == pytest.approx(their_losses, rel=1e-9)
    assert found == pytest.approx(theirs, rel=1e-9)
    assert all(isinstance(loss, float) for loss in losses)


@SCORED
def test_differentiable_loss_agrees_with_loss_and_grads(normal):
    for elbo in (ours(num_particles=2), pg.ELBO(num_particles=2)):
        pyro.clear_param_store()
        model, guide = modules(normal)
        pyro.set_rng_seed(4)
        loss = elbo.loss_and_grads(model, guide, inputs, y=outputs)
        grads = gradients(model, guide)
        pyro.set_rng_seed(4)
        surrogate = elbo.differentiable_loss(model, guide, inputs, y=outputs)
        assert surrogate.item() == pytest.approx(loss, rel=1e-12)
        pyro.get_param_store().clear()
        surrogate.backward()
        again = gradients(model, guide)
        for name, grad in again.items():
            torch.testing.assert_close(grad, grads[name], rtol=1e-12, atol=1e-12)


def test_loss_leaves_no_gradient_and_no_graph():
    model, guide = modules(NonreparameterizedNormal)
    value = ours().loss(model, guide, inputs, outputs)
    assert isinstance(value, float)
    assert all(p.grad is None for p in (*model.parameters(), *guide.parameters()))
    with torch.enable_grad():
        assert ours().differentiable_loss(model, guide, inputs, outputs).requires_grad


def test_equal_seeds_give_equal_estimates_and_other_seeds_do_not():
    model, guide = modules(NonreparameterizedNormal)
    elbo = pg.ELBO(num_particles=4, vectorize_particles=False)
    losses = []
    for seed in (7, 7, 8):
        pyro.set_rng_seed(seed)
        losses.append(elbo.loss(model, guide, inputs, outputs))
    assert losses[0] == losses[1] != losses[2]


def test_the_first_run_finds_lazy_parameters():
    class Lazy(PyroModule):
        def forward(self, x):
            if not hasattr(self, "loc"):
                self.loc = torch.nn.Parameter(x.new_zeros(x.shape[-1]))
            pyro.sample("w", dist.Normal(self.loc, 1.0).to_event(1))

    class Target(PyroModule):
        def forward(self, x):
            pyro.sample("w", dist.Normal(torch.ones(2), 1.0).to_event(1))

    objective = pg.ELBO()(Target(), Lazy())
    assert not list(objective.parameters())
    objective(inputs).backward()
    ((name, loc),) = objective.named_parameters()
    assert name == "guide.loc"
    assert loc.grad.abs().min() > 0


def test_an_objective_can_be_copied_with_what_its_estimators_have_learnt():
    def model():
        pyro.sample("c", dist.Bernoulli(0.3))

    def guide():
        logits = pyro.param("p", torch.tensor(0.2))
        pyro.sample("c", dist.Bernoulli(logits=logits))

    elbo = pg.ELBO(estimators=pg.estimator("score_function", baseline="moving_average"))
    for seed in range(5):
        pyro.set_rng_seed(seed)
        elbo.loss_and_grads(model, guide)
    twin = copy.deepcopy(elbo)
    mine, theirs = (e.estimator_of("c").baseline.total for e in (elbo, twin))
    assert mine == theirs != 0
    pyro.set_rng_seed(11)
    elbo.loss_and_grads(model, guide)
    assert elbo.estimator_of("c").baseline.total != theirs
