"""Another engine's collectives: here threads, which only have two operations."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI

import pgplugins as pg
from pgplugins.core.pooling import LOCAL, group_totals, mean_and_std
from pgplugins.distributed import TorchCollectives, reduce_gradients
from pgplugins.distributed.collectives import collectives_of
from pgplugins.distributed.shared import SharedPool
from pgplugins.errors import CompileError, DistributedError


class Thread:
    """A rank that is a thread; the others give up on one that has ended."""

    def __init__(self, rank, tensors, barrier):
        self.rank, self.size = rank, len(tensors)
        self._tensors, self._barrier = tensors, barrier

    def all_gather(self, tensor):
        self._tensors[self.rank] = tensor.clone()
        self._barrier.wait(10)
        gathered = list(self._tensors)
        self._barrier.wait(10)
        assert len({t.shape for t in gathered}) == 1, "engines need one shape"
        return gathered

    def all_reduce(self, tensor):
        return torch.stack(self.all_gather(tensor)).sum(0)


class Alone:
    """The only rank."""

    rank, size = 0, 1

    def all_gather(self, tensor):
        raise AssertionError("there is nothing to exchange")

    all_reduce = all_gather


def on_threads(size, function):
    """Run a function of the collectives on as many ranks; their results."""
    tensors, barrier = [None] * size, threading.Barrier(size)

    with ThreadPoolExecutor(size) as pool:
        futures = [
            pool.submit(function, Thread(rank, tensors, barrier))
            for rank in range(size)
        ]
    return [f.exception() or f.result() for f in futures]


CUTS = [0, 3, 3, 8]  # the second rank has no draws at all


def part(tensor, collectives):
    return tensor[CUTS[collectives.rank] : CUTS[collectives.rank + 1]]


def surrogate_gradient(baseline, actions, costs, distributed):
    mu = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    loss = pg.surrogate(
        dist.Normal(mu, 0.5),
        actions,
        costs,
        baseline=baseline,
        distributed=distributed,
    )
    loss.sum().backward()
    return mu.grad


@pytest.mark.parametrize("baseline", ["leave_one_out", None])
def test_a_surrogate_over_threads(baseline):
    actions = torch.randn(8, dtype=torch.float64)
    costs = torch.randn(8, dtype=torch.float64) ** 2 + 1
    parts = on_threads(
        3,
        lambda c: surrogate_gradient(baseline, part(actions, c), part(costs, c), c),
    )
    whole = surrogate_gradient(baseline, actions, costs, False)
    torch.testing.assert_close(sum(parts), whole, rtol=1e-13, atol=0)
    assert parts[1] == 0


def test_group_totals_know_ids_only():
    values = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0])
    ids = torch.tensor([9, 9, -3, -3, 9, 70, -3, 70])

    def totals(collectives):
        pool = SharedPool(collectives)
        return group_totals(part(values, collectives), part(ids, collectives), pool)

    found = on_threads(3, totals)
    for index, whole in enumerate(group_totals(values, ids, LOCAL)):
        assert torch.cat([f[index] for f in found]).equal(whole)
    assert group_totals(values, ids)[0].tolist() == [19, 19, 76, 76, 19, 160, 76, 160]
    assert group_totals(values, ids)[1].tolist() == [3, 3, 3, 3, 3, 2, 3, 2]


def test_mean_and_standard_deviation_for_a_normalisation():
    values = torch.randn(8, 3, dtype=torch.float64) + 5
    found = on_threads(3, lambda c: mean_and_std(part(values, c), SharedPool(c)))
    assert found[0] == found[1] == found[2]
    torch.testing.assert_close(found[0], mean_and_std(values), rtol=1e-14, atol=0)
    expected = values.mean(), values.std()
    torch.testing.assert_close(found[0], expected, rtol=1e-14, atol=0)


def test_reduced_gradients():
    def reduced(op):
        def rank(collectives):
            ps = [torch.zeros(2, requires_grad=True) for _ in range(3)]
            ps[0].grad = torch.tensor([1.0, 2.0]) * (collectives.rank + 1)
            if collectives.rank == 1:  # the others have none
                ps[1].grad = torch.tensor([3.0, 6.0])
            reduce_gradients(ps, op, distributed=collectives)
            return [None if p.grad is None else p.grad.tolist() for p in ps]

        return on_threads(3, rank)

    assert reduced("sum") == [[[6.0, 12.0], [3.0, 6.0], None]] * 3
    assert reduced("mean") == [[[2.0, 4.0], [1.0, 2.0], None]] * 3
    with pytest.raises(pg.PgpluginsError, match="write 'mean' or 'sum'"):
        reduce_gradients([], "max")


def test_names_of_all_ranks():
    own = [["a", "c"], [], ["b", "c"]]
    found = on_threads(3, lambda c: SharedPool(c).union(own[c.rank], "names"))
    assert found == [["a", "b", "c"]] * 3
    found = on_threads(3, lambda c: SharedPool(c).union(["x"], "names"))
    assert found == [["x"]] * 3


def test_shares_and_turns():
    class Rank:
        size = 3

        def __init__(self, rank):
            self.rank = rank

    pools = [SharedPool(Rank(r)) for r in range(3)]
    assert [p.share(8) for p in pools] == [3, 3, 2]
    turns = [[turn.counts for turn in p.turns(8)] for p in pools]
    assert turns == [[True] * 3, [True] * 3, [True, True, False]]


def test_who_takes_part_without_counting_adds_nothing():
    def rank(collectives):
        pool = SharedPool(collectives, counts=collectives.rank != 1)
        value = torch.tensor([1.0 + collectives.rank])
        total, count = pool.total(value, 5, "numbers")
        (rows,) = pool.rows([value.unsqueeze(0)], "rows")
        return (
            total.tolist(),
            count,
            pool.mean(value, 5, "means").tolist(),
            rows.tolist(),
        )

    assert on_threads(3, rank) == [([4.0], 10, [2.0], [[1.0], [3.0]])] * 3


def test_means_weigh_ranks_by_their_samples():
    def rank(collectives):
        value = torch.tensor(float(collectives.rank))
        return SharedPool(collectives).mean(value, 1 + collectives.rank, "m").item()

    assert on_threads(3, rank) == [pytest.approx((0 + 1 * 2 + 2 * 3) / 6)] * 3


def test_shapes_that_differ_are_refused_before_numbers_are_exchanged():
    def rank(collectives):
        SharedPool(collectives).total(torch.zeros(1 + collectives.rank), 1, "costs")

    for error in on_threads(2, rank):
        assert isinstance(error, DistributedError)
        assert "rank 0: costs torch.float32 (1,); rank 1: costs" in str(error)


def test_an_engine_that_fails_is_named():
    class Broken(Alone):
        rank, size = 1, 2

        def all_gather(self, tensor):
            raise ConnectionError("the switch is off")

    with pytest.raises(DistributedError, match=r"Rank 1 of 2 .* the switch is off"):
        surrogate_gradient(None, torch.zeros(2), torch.zeros(2), Broken())


def test_a_rank_that_fails_says_what_it_could_not_tell():
    class Broken(Alone):
        rank, size = 1, 2

        def all_gather(self, tensor):
            if tensor[0] == 1:  # a failure
                raise ConnectionError("the switch is off")
            return [tensor, tensor]

    with pytest.raises(pg.PgpluginsError, match="costs of shape") as caught:
        surrogate_gradient(None, torch.zeros(2), torch.zeros(3), Broken())
    assert "the switch is off" in caught.value.__notes__[0]


def test_one_rank_is_one_process():
    def model():
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(0.7))

    def guide():
        loc = pyro.param("loc", torch.tensor(0.1))
        pyro.sample("z", dist.Normal(loc, 0.5))

    def trained(distributed):
        pyro.clear_param_store()
        pyro.set_rng_seed(3)
        elbo = pg.ELBO(
            num_particles=4,
            vectorize_particles=True,
            estimators="score_function",
            distributed=distributed,
        )
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), elbo)
        losses = [svi.step() for _ in range(3)]
        return losses, pyro.param("loc").item()

    assert trained(Alone()) == trained(False)


@pytest.mark.parametrize("distributed", ["nccl", 1, None])
def test_what_is_no_engine_is_refused(distributed):
    for make in (pg.ELBO, pg.IWELBO, pg.RenyiELBO, pg.ExpectedCost):
        with pytest.raises(pg.PgpluginsError, match="all_reduce and all_gather"):
            make(distributed=distributed)


def test_without_a_process_group_nothing_is_distributed():
    assert collectives_of(False) is None
    with pytest.raises(DistributedError, match="init_process_group"):
        TorchCollectives()
    elbo = pg.ELBO(distributed=True)  # a group may come later
    with pytest.raises(DistributedError, match="init_process_group"):
        elbo.loss(lambda: None, lambda: None)


def test_an_objective_over_ranks_is_not_compiled():
    def model():
        pyro.sample("z", dist.Normal(0.0, 1.0))

    svi = SVI(model, model, pyro.optim.SGD({}), pg.ELBO(distributed=True))
    with pytest.raises(CompileError, match="distributed"):
        pg.compile(svi)

    class Twin(Alone):
        """A second rank that does and has exactly the same."""

        size = 2

        def all_gather(self, tensor):
            return [tensor, tensor]

        def all_reduce(self, tensor):
            return 2 * tensor

    loc = torch.tensor(0.5, requires_grad=True)

    def program():
        pg.cost("c", pyro.sample("z", dist.Normal(loc, 1.0)) ** 2)

    objective = pg.ExpectedCost(num_particles=4, distributed=Twin())
    with pytest.raises(CompileError, match="distributed"):
        pg.compile(lambda: objective(program))()


def test_an_objective_over_ranks_is_not_compared():
    def model():
        pyro.sample("z", dist.Normal(0.0, 1.0))

    elbo = pg.ELBO(distributed=True)
    with pytest.raises(pg.PgpluginsError, match="distributed"):
        pg.compare((model, model, ()), ["reparameterized"], elbo=elbo)
    with pytest.raises(pg.PgpluginsError, match="distributed"):
        pg.explain((model, model, ()), elbo=elbo)
