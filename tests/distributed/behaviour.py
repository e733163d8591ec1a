"""What several ranks do that has no counterpart in one process."""

import pyro
import pyro.distributions as dist
import torch
import torch.distributed
from pyro.infer import SVI
from pyro.infer.autoguide import AutoLowRankMultivariateNormal

import pgplugins as pg

BEHAVIOURS = {}


def behaviour(function):
    BEHAVIOURS[function.__name__] = function
    return function


def run_all(rank, size):
    """Return what every behaviour has shown on this rank, or the error it ended in."""
    torch.set_default_dtype(torch.float64)
    found = {}
    for name, function in BEHAVIOURS.items():
        pyro.clear_param_store()
        pyro.set_rng_seed(7)
        try:
            found[name] = function(rank, size)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def parameters():
    return {
        name: p.detach().reshape(-1).tolist()
        for name, p in sorted(pyro.get_param_store()._params.items())
    }


def model():
    z = pyro.sample("z", dist.Normal(0.0, 1.0))
    pyro.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(0.7))


def guide():
    loc = pyro.param("loc", torch.tensor(0.1))
    pyro.sample("z", dist.Normal(loc, 0.5))


def elbo(size, estimators="score_function", **options):
    options.setdefault("vectorize_particles", True)
    return pg.ELBO(
        num_particles=2 * size + 1, estimators=estimators, distributed=True, **options
    )


def svi(model, guide, objective):
    return SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), objective)


@behaviour
def own_draws(rank, size):
    """What particles draw, what is drawn afterwards, and both with the seed again."""
    drawn = []

    def watched():
        guide()
        drawn.append(pyro.sample("w", dist.Normal(0.0, 1.0)).reshape(-1).tolist())

    def model_of_both():
        model()
        pyro.sample("w", dist.Normal(0.0, 1.0))

    runs = []
    for _ in range(2):
        pyro.clear_param_store()
        pyro.set_rng_seed(7)
        drawn.clear()
        objective = elbo(size)
        losses = [objective.loss(model_of_both, watched) for _ in range(2)]
        runs.append([drawn[-2:], torch.rand(2).tolist(), losses])
    return runs


@behaviour
def common_subsamples(rank, size):
    seen = []

    def data_model():
        with pyro.plate("data", 1000, 5) as index:
            seen.append(index.tolist())
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=torch.zeros(5))

    def data_guide():
        loc = pyro.param("loc", torch.tensor(0.1))
        with pyro.plate("data", 1000, 5) as index:
            seen.append(index.tolist())
            pyro.sample("z", dist.Normal(loc, 0.5))

    objective = elbo(size)
    for _ in range(2):
        objective.loss_and_grads(data_model, data_guide)
    return seen[-4:]


@behaviour
def random_starts(rank, size):
    """An automatic guide begins at random, and a baseline network as well."""
    network = pg.estimator("score_function", baseline="neural")

    def two():
        pyro.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("b", dist.Normal(torch.zeros(3), 1.0).to_event(1))

    steps = svi(two, AutoLowRankMultivariateNormal(two), elbo(size))
    losses = [steps.step() for _ in range(3)]
    objective = elbo(size, network)
    losses += [svi(model, guide, objective).step() for _ in range(3)]
    return [losses, parameters()]


@behaviour
def unequal_parameters(rank, size):
    pyro.param("loc", torch.tensor(0.1 + 0.01 * rank))
    return elbo(size).loss_and_grads(model, guide)


@behaviour
def a_rank_that_fails(rank, size):
    def failing():
        model()
        if rank == 1:
            raise OSError("no such file")

    pyro.param("loc", torch.tensor(0.1))
    objective = elbo(size, max_plate_nesting=0)
    objective._primed.once = lambda *_: None
    return objective.loss_and_grads(failing, guide)


@behaviour
def a_rank_that_fails_in_a_surrogate(rank, size):
    costs = torch.ones(4 if rank != 1 else 3)
    policy = dist.Normal(torch.tensor(0.0, requires_grad=True), 1.0)
    loss = pg.surrogate(
        policy, torch.ones(4), costs, baseline="leave_one_out", distributed=True
    )
    return loss.tolist()


@behaviour
def a_member_alone_on_all_ranks(rank, size):
    ids = torch.tensor([[0, 1], [1, 7], [0, 0]][rank])
    return pg.rl.leave_one_out(torch.ones(2), ids, distributed=True).tolist()


@behaviour
def steps_that_differ(rank, size):
    costs = torch.ones(4 + rank, 2)
    return pg.rl.leave_one_out(costs, torch.zeros(2).long(), distributed=True).tolist()


@behaviour
def one_value_on_all_ranks(rank, size):
    return pg.rl.normalized(torch.ones(int(rank == 1)), distributed=True).tolist()


@behaviour
def ranks_that_part(rank, size):
    def more():
        guide()
        if rank == 1:
            pyro.sample("another", dist.Normal(pyro.param("loc"), 1.0))

    def more_of_the_model():
        model()
        if rank == 1:
            pyro.sample("another", dist.Normal(0.0, 1.0))

    return elbo(size).loss_and_grads(more_of_the_model, more)


class Drifting(pg.Estimator):
    """A moving average that sees what one rank has drawn only."""

    name = "drifting"
    traits = pg.Traits(unbiased=True, needs=frozenset({"log_prob"}))

    def __init__(self):
        super().__init__()
        self.register_buffer("past", torch.zeros(()))

    def draw(self, dist):
        return pg.Draw.of_row(dist, dist.sample())

    def gradient_term(self, draw, cost):
        return draw.score_term(cost - self.past)[0]

    def update(self, draw, cost):
        self.past = 0.9 * self.past + 0.1 * cost.detach().mean()


@behaviour
def an_estimator_that_does_not_pool(rank, size):
    return elbo(size, Drifting()).loss_and_grads(model, guide)


def parting_guide(rank, create):
    def parting():
        guide()
        if rank == 0:
            create()

    return parting


@behaviour
def a_parameter_that_one_rank_meets(rank, size):
    def own():
        shift = pyro.param("shift", torch.tensor(0.2))
        pyro.factor("f", -((shift - 1) ** 2), has_rsample=True)

    pyro.param("shift", torch.tensor(0.2))
    steps = svi(model, parting_guide(rank, own), elbo(size, "reparameterized"))
    for _ in range(3):
        steps.step()
    return parameters()


@behaviour
def a_parameter_that_one_rank_has(rank, size):
    def own():
        pyro.param("shift", torch.tensor(0.2))

    return elbo(size).loss_and_grads(model, parting_guide(rank, own))


@behaviour
def too_few_particles(rank, size):
    objective = pg.ELBO(num_particles=size - 1, distributed=True)
    return objective.loss(model, guide)


@behaviour
def control_flow_in_python(rank, size):
    """Particles one after another, of which each takes its own way."""

    def branching(obs):
        z = pyro.sample("z", dist.Bernoulli(0.4))
        mean = 3.0 if z > 0 else 0.0
        pyro.sample("x", dist.Normal(mean, 1.0), obs=torch.tensor(2.5))

    def guess(obs):
        logit = pyro.param("logit", torch.tensor(0.0))
        pyro.sample("z", dist.Bernoulli(logits=logit))

    objective = elbo(size, None, vectorize_particles=False)
    steps = SVI(branching, guess, pyro.optim.Adam({"lr": 0.1}), objective)
    for _ in range(40):
        steps.step(0)
    return parameters()
