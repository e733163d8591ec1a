"""What is compared between one process and several, each a flat list of numbers.

Every case runs on all ranks alike. Particles draw from the table of
:mod:`tests.distributed.noise`, so a case's numbers do not depend on how the particles
are divided, but for rounding.
"""

import pyro
import pyro.distributions as dist
import torch
import torch.distributed
from pyro.infer import SVI

import pgplugins as pg
from pgplugins.core.pooling import group_totals
from pgplugins.distributed import reduce_gradients
from pgplugins.distributed.collectives import collectives_of
from pgplugins.distributed.shared import SharedPool
from tests.distributed import noise
from tests.distributed.noise import Bell, Coin

PARTICLES = 7
DATA = torch.tensor([0.3, 1.8, -0.6], dtype=torch.float64)
CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


def run_all(rank, size):
    """Return every case's numbers, from a rank of several or from a single process."""
    torch.set_default_dtype(torch.float64)
    mine = [i for i in range(PARTICLES) if owner(i, size) == rank]
    found = {}
    for name, function in CASES.items():
        pyro.clear_param_store()
        pyro.set_rng_seed(7)
        noise.use(mine, PARTICLES)
        try:
            with noise.gumbel_from_the_table():
                found[name] = [float(x) for x in function(mine, size > 1)]
        except Exception as error:
            found[name] = [f"{type(error).__name__}: {error}"]
    return found


def owner(particle, size):
    """The rank of a particle: in order, and more on the first ranks."""
    shares = [PARTICLES // size + (r < PARTICLES % size) for r in range(size)]
    ranks = [r for r, share in enumerate(shares) for _ in range(share)]
    return ranks[particle]


def parameters():
    return [p for _, p in sorted(pyro.get_param_store()._params.items())]


def flat(tensors):
    return torch.cat([t.detach().reshape(-1) for t in tensors]).tolist()


# A global Normal, and coins in a plate.


def model(width=2):
    z = pyro.sample("z", dist.Normal(torch.zeros(width), 1.0).to_event(1))
    with pyro.plate("data", len(DATA)):
        logits = z[..., 0] + 0.3 * z.square().sum(-1)
        b = pyro.sample("b", dist.Bernoulli(logits=logits))
        pyro.sample("x", dist.Normal(b + z[..., -1], 1.0), obs=DATA)


def guide(width=2):
    loc = pyro.param("loc", torch.linspace(-0.3, 0.4, width))
    scale = pyro.param(
        "scale", torch.full((width,), 0.6), constraint=dist.constraints.positive
    )
    logits = pyro.param("logits", torch.tensor([0.2, -0.4, 0.1]))
    pyro.sample("z", Bell(loc, scale).to_event(1))
    with pyro.plate("data", len(DATA)):
        pyro.sample("b", Coin(logits=logits))


def train(objective, steps, width=2, optimizer=None):
    """Steps of stochastic gradient descent: losses, and where they lead."""
    optimizer = optimizer or pyro.optim.SGD({"lr": 0.01})
    svi = SVI(model, guide, optimizer, objective)
    losses = []
    for step in range(steps):
        noise.table.step(step)
        losses.append(svi.step(width))
    return losses + flat(parameters()) + state(objective)


def state(objective):
    """What the estimators have learnt."""
    return [
        x
        for _, t in sorted(objective.state_dict().items())
        for x in t.double().reshape(-1).tolist()
    ]


def elbo(distributed, z, b, kind=pg.ELBO, **options):
    return unprimed(
        kind(
            num_particles=PARTICLES,
            vectorize_particles=True,
            max_plate_nesting=1,
            estimators={"z": z, "b": b},
            distributed=distributed,
            **options,
        )
    )


def unprimed(objective):
    """Without the first run that makes parameters: the table is for particles only."""
    objective._primed.once = lambda *_: None
    return objective


@case
def leave_one_out(mine, distributed):
    return train(elbo(distributed, "score_function", "score_function"), 3)


@case
def one_particle_on_each_of_three_ranks(mine, distributed):
    noise.use([_rank()] if distributed else [0, 1, 2], 3)
    choice = pg.estimator("score_function", baseline="leave_one_out")
    objective = unprimed(
        pg.ELBO(
            num_particles=3,
            vectorize_particles=True,
            max_plate_nesting=1,
            estimators=choice,
            distributed=distributed,
        )
    )
    return train(objective, 2)


@case
def moving_average(mine, distributed):
    choice = pg.estimator("score_function", baseline="moving_average")
    return train(elbo(distributed, "reparameterized", choice), 5)


@case
def neural(mine, distributed):
    choice = pg.estimator("score_function", baseline=torch.nn.Linear(1, 1))
    with torch.no_grad():
        for p in choice.parameters():
            p.fill_(0.3)
    return train(elbo(distributed, "reparameterized", choice), 5)


@case
def hybrid(mine, distributed):
    return train(elbo(distributed, "hybrid", "score_function"), 30)


@case
def lax(mine, distributed):
    return train(elbo(distributed, "lax", "score_function"), 40)


@case
def lax_of_a_wide_event(mine, distributed):
    objective = elbo(distributed, "lax", "score_function")
    return train(objective, 35, width=13)


@case
def total_propagation(mine, distributed):
    return train(elbo(distributed, "total_propagation", "score_function"), 5)


@case
def total_propagation_of_one_particle_on_each_rank(mine, distributed):
    noise.use([_rank()] if distributed else [0, 1, 2], 3)
    objective = unprimed(
        pg.ELBO(
            num_particles=3,
            vectorize_particles=True,
            max_plate_nesting=1,
            estimators={"z": "total_propagation", "b": "score_function"},
            distributed=distributed,
        )
    )
    return train(objective, 2)


@case
def total_propagation_of_paths_that_are_dead_on_some_ranks(mine, distributed):
    """A path weighs by what it is on all ranks: only the first particle's moves."""
    loc = torch.tensor([0.3, -0.2], requires_grad=True)
    live = (torch.tensor(mine) == 0).to(loc)

    def program():
        a, linear = pyro.sample("a", Bell(loc, 0.7).to_event(1)).unbind(-1)
        pg.cost("c", live * a**2 + 3 * (a > 0.2).to(loc) + linear)

    objective = pg.ExpectedCost(
        estimators="total_propagation",
        num_particles=PARTICLES,
        max_plate_nesting=0,
        distributed=distributed,
    )
    loss = unprimed(objective)(program)
    loss.backward()
    reduce_gradients([loc], distributed=distributed)
    return [loss.item(), *loc.grad.tolist()]


@case
def rebar(mine, distributed):
    return train(elbo(distributed, "reparameterized", "rebar"), 5)


@case
def relax(mine, distributed):
    return train(elbo(distributed, "reparameterized", "relax"), 5)


@case
def importance_weighted(mine, distributed):
    return train(
        elbo(distributed, "reparameterized", "score_function", pg.IWELBO), 3
    ) + train(elbo(distributed, "hybrid", "score_function", pg.IWELBO), 10)


@case
def importance_weighted_by_element(mine, distributed):
    def local_model(width):
        with pyro.plate("data", len(DATA)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=DATA)

    def local_guide(width):
        loc = pyro.param("loc", torch.tensor([0.2, -0.4, 0.1]))
        with pyro.plate("data", len(DATA)):
            pyro.sample("z", Bell(loc, 0.8))

    objective = pg.IWELBO(
        num_particles=PARTICLES,
        vectorize_particles=True,
        max_plate_nesting=1,
        estimators="doubly_reparameterized",
        plate="data",
        distributed=distributed,
    )
    loss = unprimed(objective).loss_and_grads(local_model, local_guide, 2)
    return [loss, *flat([p.grad for p in parameters()])]


@case
def renyi(mine, distributed):
    return train(
        elbo(distributed, "score_function", "score_function", pg.RenyiELBO, alpha=0.5),
        3,
    )


@case
def clipped_after_the_reduction(mine, distributed):
    optimizer = pyro.optim.ClippedAdam({"lr": 0.05, "clip_norm": 0.1})
    objective = elbo(distributed, "reparameterized", "score_function")
    return train(objective, 4, optimizer=optimizer)


@case
def loss_alone(mine, distributed):
    objective = elbo(distributed, "reparameterized", "score_function")
    return [objective.loss(model, guide, 2)]


@case
def gradients_from_before_are_kept(mine, distributed):
    objective = elbo(distributed, "reparameterized", "score_function")
    objective.loss_and_grads(model, guide, 2)
    for parameter in parameters():
        parameter.grad = torch.ones_like(parameter)
    objective.loss_and_grads(model, guide, 2)
    return flat([p.grad for p in parameters()])


@case
def differentiable_loss(mine, distributed):
    objective = elbo(distributed, "hybrid", "score_function")
    found = []
    for step in range(3):
        noise.table.step(step)
        loss = objective.differentiable_loss(model, guide, 2)
        for parameter in parameters():
            parameter.grad = None
        loss.backward()
        reduce_gradients(parameters(), distributed=distributed)
        found += [loss.item(), *flat([p.grad for p in parameters()])]
    return found


class Guide(pyro.nn.PyroModule):
    def __init__(self):
        super().__init__()
        self.loc = torch.nn.Parameter(torch.tensor([-0.3, 0.4]))
        self.log_scale = torch.nn.Parameter(torch.full((2,), -0.5))
        self.logits = torch.nn.Parameter(torch.tensor([0.2, -0.4, 0.1]))

    def forward(self):
        pyro.sample("z", Bell(self.loc, self.log_scale.exp()).to_event(1))
        with pyro.plate("data", len(DATA)):
            pyro.sample("b", Coin(logits=self.logits))


class Model(pyro.nn.PyroModule):
    def forward(self):
        model()


@case
def data_parallel_module(mine, distributed):
    objective = elbo(distributed, "hybrid", "score_function")
    module = objective(Model(), Guide())
    if distributed:
        module = torch.nn.parallel.DistributedDataParallel(module)
    optimizer = torch.optim.SGD(module.parameters(), 0.01)
    found = []
    for step in range(20):
        noise.table.step(step)
        optimizer.zero_grad()
        loss = module()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    # Not what was learnt: its scale is that of the loss, which is made to be averaged.
    return found + flat(module.parameters())


@case
def expected_cost(mine, distributed):
    loc = torch.tensor(0.3, requires_grad=True)

    def program():
        a = pyro.sample("a", Bell(loc, 0.7))
        b = pyro.sample("b", Coin(logits=a))
        pg.cost("c", (a - 1) ** 2 + 2 * b)

    objective = pg.ExpectedCost(
        estimators="score_function",
        num_particles=PARTICLES,
        max_plate_nesting=0,
        distributed=distributed,
    )
    noise.table.step(3)
    loss = unprimed(objective)(program)
    loss.backward()
    reduce_gradients([loc], distributed=distributed)
    return [loss.item(), loc.grad.item()]


@case
def recorded_draws(mine, distributed):
    generator = torch.Generator().manual_seed(1)
    actions = torch.randn(PARTICLES, 4, generator=generator)
    costs = torch.randn(PARTICLES, 4, generator=generator) ** 2 + 1
    learning = pg.estimator("score_function", baseline="moving_average")
    found = []
    for estimator, baseline in (
        ("score_function", "leave_one_out"),
        ("score_function", torch.linspace(0, 1, 4)),
        (learning, None),
        (learning, None),
    ):
        mu = torch.tensor([0.2, 0.1, -0.1, 0.4], requires_grad=True)
        loss = pg.surrogate(
            dist.Normal(mu, 0.5),
            actions[mine],
            costs[mine],
            estimator=estimator,
            baseline=baseline,
            distributed=distributed,
        )
        loss.sum().backward()
        reduce_gradients([mu], "sum", distributed=distributed)
        found += mu.grad.tolist()
    return found


@case
def groups(mine, distributed):
    values = torch.arange(PARTICLES, dtype=torch.float64) ** 2
    ids = torch.tensor([5, 5, 2, 9, 2, 5, 9])
    if not distributed:
        total, size = group_totals(values, ids)
        return [*(total / size).tolist(), *size.tolist()]
    pool = SharedPool(collectives_of(True))
    total, size = group_totals(values[mine], ids[mine], pool)
    found = pool.rows([torch.stack([total / size, size], 1)], "the result")[0]
    return found.t().reshape(-1).tolist()


def joined(members, distributed):
    """Every member's numbers, shape ``(members, *)``, in the order of all members."""
    if not distributed:
        return members.reshape(-1).tolist()
    pool = SharedPool(collectives_of(True))
    return pool.rows([members], "the result")[0].reshape(-1).tolist()


def rollouts():
    """Costs and what counts of them, shape ``(time, members)``; and group ids."""
    generator = torch.Generator().manual_seed(2)
    costs = torch.randn(4, PARTICLES, generator=generator, dtype=torch.float64) + 3
    mask = torch.rand(4, PARTICLES, generator=generator) < 0.7
    # Of one step no member counts on the last rank; one group lies on a single rank.
    mask[1, 5:] = False
    return costs.where(mask, torch.nan), mask, torch.tensor([5, 5, 2, 9, 2, 5, 9])


@case
def leave_one_out_by_groups(mine, distributed):
    costs, mask, ids = rollouts()
    whole = torch.arange(PARTICLES, dtype=torch.float64) ** 2
    found = [pg.rl.leave_one_out(whole[mine], ids[mine], distributed=distributed)]
    found += pg.rl.leave_one_out(
        costs[:, mine],
        ids[mine],
        mask=mask[:, mine],
        alone=0.5,
        distributed=distributed,
    )
    return joined(torch.stack(found, 1), distributed)


@case
def leave_one_out_where_a_rank_has_none(mine, distributed):
    costs = torch.tensor([1.0, 4.0, 2.0, 7.0])
    ids = torch.tensor([3, 8, 3, 8], dtype=torch.int32)
    here = mine if not distributed else [[0], [], [1, 2, 3]][_rank()]
    here = [i for i in here if i < len(costs)]
    found = pg.rl.leave_one_out(costs[here], ids[here], distributed=distributed)
    return joined(found.unsqueeze(1), distributed)


@case
def normalized(mine, distributed):
    costs, mask, _ = rollouts()
    found = pg.rl.normalized(
        costs[:, mine], mask=mask[:, mine], distributed=distributed
    )
    whole = torch.arange(PARTICLES, dtype=torch.float64) ** 2
    here = mine if not distributed else [[0], [], [1, 2, 3, 4, 5, 6]][_rank()]
    ragged = pg.rl.normalized(whole[here], distributed=distributed)
    return joined(found.t(), distributed) + joined(ragged.unsqueeze(1), distributed)


@case
def policy_gradient_of_normalized_costs_less_groups(mine, distributed):
    """What recorded rollouts come to: baselines, normalisation, terms, gradients."""
    costs, mask, ids = rollouts()
    actions = torch.linspace(-1, 1, costs.numel()).reshape(costs.shape)[:, mine]
    costs, mask, ids = costs[:, mine], mask[:, mine], ids[mine]
    mu = torch.tensor(0.2, requires_grad=True)
    others = pg.rl.leave_one_out(
        costs, ids, mask=mask, alone=0.0, distributed=distributed
    )
    advantages = pg.rl.normalized(costs - others, mask=mask, distributed=distributed)
    terms = pg.surrogate(
        dist.Normal(mu, 0.5), actions, advantages, mask=mask, distributed=distributed
    )
    terms.sum().backward()
    reduce_gradients([mu], "sum", distributed=distributed)
    return [mu.grad.item()]


def _rank():
    return torch.distributed.get_rank()


# Particles one after another: in rounds, one on each rank.


def in_turn(distributed, z, b, kind=pg.ELBO):
    return kind(
        num_particles=PARTICLES,
        max_plate_nesting=1,
        estimators={"z": z, "b": b},
        distributed=distributed,
    )


def one_at_a_time(mine, objective):
    """The loss and the gradient of a step, with one row of the table for each run."""
    # A rank's last run may be one that does not count; its draws do not matter then.
    order = iter([*mine, *mine])

    def next_guide(width):
        noise.use([next(order)], PARTICLES, alone=True)
        guide(width)

    loss = unprimed(objective).loss_and_grads(model, next_guide, 2)
    return [loss, *flat([p.grad for p in parameters()])]


@case
def one_after_another(mine, distributed):
    objective = in_turn(distributed, "reparameterized", "score_function")
    return one_at_a_time(mine, objective)


@case
def importance_weighted_one_after_another(mine, distributed):
    objective = in_turn(distributed, "hybrid", "score_function", pg.IWELBO)
    return one_at_a_time(mine, objective)
