"""Operations that are alike, done side by side, have the results that they had."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.infer import SVI
from torch.fx.experimental.proxy_tensor import make_fx

import pgplugins as pg
from pgplugins.compiled import lowering
from pgplugins.compiled.alike import Entries, Many, Placed, Total, plan
from pgplugins.compiled.side_by_side import run
from pgplugins.compiled.sums import Running
from pgplugins.compiled.tidying import tidy, write_elsewhere, writes

aten = torch.ops.aten
N = 12


def numbers(*shape, seed=0, dtype=torch.float32):
    own = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=own, dtype=dtype)


def traced(function, *inputs):
    graph = make_fx(function)(*inputs)
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            node.meta["val"] = getattr(graph, node.target)
    return graph


def both(function, *inputs):
    """Return the results one by one and side by side, and the plan."""
    graph = traced(function, *inputs)
    torch.manual_seed(0)
    one_by_one = graph(*inputs)
    tidy(graph)
    planned = plan(graph.graph)
    torch.manual_seed(0)
    return one_by_one, run(graph, planned, inputs), planned


def agree(function, *inputs):
    """Check that the results are equal, up to rounding; return the plan."""
    one_by_one, side_by_side, planned = both(function, *inputs)
    assert len(one_by_one) == len(side_by_side)
    for a, b in zip(one_by_one, side_by_side, strict=True):
        torch.testing.assert_close(b, a)
    return planned


def length(function, *inputs):
    """Return how many operations are left, taking apart and putting together too."""
    graph = traced(function, *inputs)
    tidy(graph)
    planned = plan(graph.graph)
    return len(traced(lambda *given: run(graph, planned, given), *inputs).graph.nodes)


def kinds(planned):
    return {type(unit) for unit in planned.units}


def sizes(planned, kind):
    return sorted(len(u.nodes) for u in planned.units if isinstance(u, kind))


def test_entries_and_what_is_done_with_them():
    def loop(x, y):
        return [(x[t].exp() * 2 - y[t]).sin() / (1 + x[t] ** 2) for t in range(N)]

    planned = agree(loop, numbers(N), numbers(N, 3))
    assert sizes(planned, Entries) == [N, N]
    assert set(sizes(planned, Many)) == {N}
    assert len(planned.units) < 20 < planned.nodes


@pytest.mark.parametrize("first, last", [(0, N), (2, N), (0, N - 3), (-N, 0)])
def test_gradients_of_entries_are_put_in_their_places(first, last):
    """Also where entries before or after them have none."""

    def gradient(x, c):
        x = x.detach().requires_grad_()
        loss = sum((x[t].exp() * c[t]).sum() for t in range(first, last))
        return torch.autograd.grad(loss, [x])

    planned = agree(gradient, numbers(N, 2), numbers(N, 2))
    assert Placed in kinds(planned)


def test_gradients_of_entries_of_an_entry():
    def gradient(x, c):
        x = x.detach().requires_grad_()
        loss = sum(x[1, t].exp() * c[t] + x[0, t].sin() for t in range(N))
        return torch.autograd.grad(loss, [x])

    agree(gradient, numbers(2, N), numbers(N))


def test_gradients_of_several_entries_at_every_step():
    def gradient(x):
        x = x.detach().requires_grad_()
        loss = sum((x[t, 0] * x[t, 1]).exp() * x[t, 2] for t in range(N))
        return torch.autograd.grad(loss, [x])

    planned = agree(gradient, numbers(N, 3))
    # The entries of a step are those of one row: only rows are places.
    assert len(sizes(planned, Placed)) >= 3
    assert len(planned.units) * 4 < planned.nodes


def test_entries_out_of_order_and_twice():
    def loop(x):
        order = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
        return [x[t].exp() + x[-1 - t].sin() for t in order]

    agree(loop, numbers(N, 2))


@pytest.mark.parametrize("backwards", [False, True])
def test_sums_that_grow(backwards):
    """Costs to go: every partial sum is somebody's."""

    def loop(x, y):
        steps = range(N)[::-1] if backwards else range(N)
        total, found = x.new_zeros(()), []
        for t in steps:
            total = total + x[t].exp()
            total = total + y[t].sin()
            found.append(total * x[t])
        return found

    planned = agree(loop, numbers(N), numbers(N, seed=1))
    (chain,) = [u for u in planned.units if isinstance(u, Running)]
    assert len(chain.nodes) >= N - 2
    assert all(len(step) == 2 for step in chain.steps)


def test_a_sum_of_many_terms_some_of_them_twice():
    def loop(x):
        terms = [x[t].exp() for t in range(N)]
        return [sum([*terms, terms[3], x[0].sin(), terms[3]])]

    planned = agree(loop, numbers(N))
    assert Total in kinds(planned)


def test_what_waits_for_the_step_before_is_done_step_by_step():
    def loop(x):
        state, found = x.new_ones(()), []
        for t in range(len(x)):
            state = (state * 0.5 + x[t]).tanh()
            found.append(state)
        return [state, *(s.exp() * 3 for s in found[len(found) // 2 :])]

    planned = agree(loop, numbers(2 * N))
    assert sizes(planned, Entries) == [2 * N]
    grouped = {n.target for u in planned.units if isinstance(u, Many) for n in u.nodes}
    assert aten.tanh.default not in grouped
    assert aten.exp.default in grouped
    # Four for a step, three to put together and take apart; none is done again.
    assert length(loop, numbers(5 * N)) < 6 * 5 * N


def test_sums_that_grow_by_something_else_now_and_then():
    def loop(x, y):
        total, found = x.new_zeros(()), []
        for t in range(3 * N):
            total = total + (x[t % N] + t).exp()
            if t % 4 == 0 or t > 2 * N:
                total = total + (y[t % N] + t).sin() + (y[t % N] + t).cos()
            if t == N:
                total = total * 0.5
            found.append(total)
        return found

    agree(loop, numbers(N), numbers(N, seed=1))


def test_sums_that_double():
    def loop(x):
        total, found = x[0], []
        for t in range(N):
            total = total + (total + x[t])
            found.append(total)
            other = x[t] + 2.0
            double = other + other
            found.append(double + double + x[t])
        return found

    agree(loop, numbers(N))


def test_a_number_that_doubles_often_is_not_taken_apart():
    def loop(x):
        for _ in range(40):
            x = x + x
        return [x]

    agree(loop, numbers(3))


def test_sums_of_whole_numbers():
    def loop(x):
        total, found = x[0], []
        for t in range(N):
            total = total + x[t].abs()
            found.append(total)
        return [sum(x[t] * 2 for t in range(N)), *found]

    agree(loop, torch.arange(N, dtype=torch.int32) - 4)


def test_a_sum_that_its_own_terms_wait_for():
    """Euler's method: every step adds what the sum so far says."""

    def loop(x):
        state = x.new_ones(())
        for t in range(N):
            state = state + 0.1 * state.sin() * x[t]
        return [state]

    planned = agree(loop, numbers(N))
    assert Running not in kinds(planned)


def test_two_kinds_of_operations_that_wait_for_one_another_in_turn():
    """Alike in themselves, they cannot all come first."""

    def loop(x):
        found = []
        for t in range(2 * N):
            a, b = (torch.sin, torch.cos) if t % 2 else (torch.cos, torch.sin)
            found.append(b(a(x[t])))
        return found

    agree(loop, numbers(2 * N))


def test_draws_stay_what_they_are():
    """One for each site, in the order of the sites."""

    def loop(x):
        state, found = x.new_zeros(()), []
        for t in range(N):
            state = torch.bernoulli(torch.sigmoid(x[t] + state))
            found.append(state * x[t])
        return found

    one_by_one, side_by_side, planned = both(loop, numbers(N))
    assert one_by_one == side_by_side
    draws = [u for u in planned.units if getattr(u, "target", "") == "bernoulli"]
    assert not draws
    alone = [u.target for u in planned.units if hasattr(u, "target")]
    assert alone.count(aten.bernoulli.default) == N


def test_noise_for_every_element_stays_what_it_is():
    """Not one noise for all, and not noise that depends on what is around."""

    def loop(x):
        return [x[t] * torch.rand_like(x[t]) for t in range(N)]

    one_by_one, side_by_side, _ = both(loop, numbers(N, 2))
    torch.testing.assert_close(side_by_side, one_by_one, rtol=0.0, atol=0.0)


def test_noise_is_written_to_new_memory_only():
    def loop(x):
        seen = torch.zeros(N)
        new = [torch.empty(2).normal_() for _ in range(N)]
        for t in range(N):
            seen[t].normal_()
        return [seen, *(n * x for n in new)]

    graph = traced(loop, numbers(2))
    torch.manual_seed(0)
    before = graph(numbers(2))
    write_elsewhere(graph)
    graph.recompile()
    written = [node.target for node in graph.graph.nodes if writes(node)]
    assert written == [aten.normal_.default] * N
    torch.manual_seed(0)
    torch.testing.assert_close(graph(numbers(2)), before, rtol=0.0, atol=0.0)


@pytest.mark.parametrize(
    "write",
    [
        lambda x: torch.empty(3).normal_(2.0, 0.5) * x,
        lambda x: torch.empty(3).uniform_(-1.0, 2.0) * x,
        lambda x: torch.empty(3).exponential_(0.3) * x,
        lambda x: x.exp().unsqueeze_(0),
        lambda x: x.exp().reshape(1, 3).squeeze_(0),
    ],
)
def test_what_is_returned_is_what_would_have_been_written(write):
    graph = traced(lambda x: [write(x)], numbers(3))
    torch.manual_seed(0)
    before = graph(numbers(3))
    write_elsewhere(graph)
    graph.recompile()
    assert not any(map(writes, graph.graph.nodes))
    torch.manual_seed(0)
    torch.testing.assert_close(graph(numbers(3)), before, rtol=0.0, atol=0.0)


def test_what_was_written_to_is_not_new_memory():
    w = numbers(3).requires_grad_()

    def loss(x):
        seen = torch.zeros(3)
        first = seen[0]
        seen.add_(1.0)
        seen.uniform_()
        x.zero_()
        x.uniform_()
        return (w * first).sum() + (w * x).sum() + (first == 1.0).float() * 1000

    x = torch.full((3,), 7.0)
    assert pg.compile(loss)(x) < 100
    assert 0 < x.min() < x.max() < 1


def test_types_are_promoted_as_before():
    """Of a number and a vector, the vector's type wins; of two vectors, the wider."""

    def loop(number, vector, whole):
        return [
            part
            for t in range(N)
            for part in (
                number[t] * vector[t],
                number[t] + t * number[t],
                whole[t] * vector[t],
                whole[t] / 3,
                (whole[t] > 0) * number[t],
            )
        ]

    whole = torch.arange(N) - 4
    agree(loop, numbers(N, dtype=torch.float64), numbers(N, 3), whole)
    agree(loop, numbers(N), numbers(N, 3, dtype=torch.float16), whole.to(torch.int8))


def test_shapes_are_broadcast_as_before():
    def loop(a, b, c):
        return [
            (a[t] * b[t] + c).sum(-1, keepdim=True) - a[t].unsqueeze(-1)
            for t in range(N)
        ]

    agree(loop, numbers(N), numbers(N, 2, 3), numbers(3))


def test_entries_counted_from_the_end():
    def loop(x):
        return [x.select(0, t - 1).exp() * x[t] + x[-1 - t].sin() for t in range(N)]

    agree(loop, numbers(N))


def test_reductions_and_views():
    def loop(x):
        return [
            part
            for t in range(N)
            for part in (
                x[t].exp().sum(),
                x[t].mean(-1),
                x[t].logsumexp(0),
                x[t].amax(-1, keepdim=True).expand(2, 3),
                x[t].t().reshape(6).cumsum(0),
                x[t] @ x[t].t(),
                x[t].permute(1, 0)[-1],
            )
        ]

    agree(loop, numbers(N, 2, 3))


def test_views_of_what_lies_otherwise_in_memory():
    def loop(x):
        turned = torch.stack([x[t].t() for t in range(N)])
        return [turned.reshape(-1), torch.stack([x.exp()] * 4).view(-1)]

    agree(loop, numbers(N, 3, 2))


@pytest.mark.parametrize(
    "look",
    [
        lambda x: torch.as_strided(x, (12,), (1,)),
        lambda x: x.view(torch.int16).float(),
        torch.view_as_complex,
    ],
)
def test_graphs_that_look_at_memory_are_done_one_by_one(look):
    def loop(x):
        return [look(torch.stack([x[t].t() for t in range(N)])).abs().sum()]

    graph = traced(loop, numbers(N, 2, 3))
    assert lowering._plan(graph) is None
    torch.testing.assert_close(graph(numbers(N, 2, 3)), loop(numbers(N, 2, 3)))


def test_entries_of_the_output_of_a_network():
    weight, x = numbers(24, 3).requires_grad_(), numbers(5, 3, seed=1)

    def loss():
        out, total = (x @ weight.T).reshape(5, 12, 2), 0.0
        for t in range(12):
            a = out[:, t]
            total = total + (a[:, 0].sin().exp() * a[:, 1].exp().cos() * 2).sum()
        return total

    compiled = pg.compile(loss)
    torch.testing.assert_close(compiled(), loss())
    (found,) = torch.autograd.grad(compiled(), [weight])
    (exact,) = torch.autograd.grad(loss(), [weight])
    torch.testing.assert_close(found, exact)


def test_a_product_with_columns_left_over_is_looked_at_as_a_vector():
    a, b = numbers(16, 600), numbers(600, 30).requires_grad_()
    found = pg.compile(lambda: ((a @ b).reshape(-1) * torch.arange(480.0)).sum())()
    exact = ((a @ b).reshape(-1) * torch.arange(480.0)).sum()
    torch.testing.assert_close(found, exact)


def test_what_stacks_cannot_do_is_done_one_by_one(monkeypatch, graphs):
    """And takes no more noise than it needs."""
    monkeypatch.setattr(lowering, "_LEAST_GAIN", 0)
    x, y = numbers(N, 3).requires_grad_(), numbers(N, dtype=torch.float64)

    def loss():
        noise = [torch.randn(16) for _ in range(N)]
        wide = [torch.addcmul(x[t], y[t], x[t]).sum() for t in range(N)]
        return sum(w * n.sum() for w, n in zip(wide, noise, strict=True))

    compiled = pg.compile(loss)
    torch.manual_seed(0)
    found = compiled()
    torch.manual_seed(0)
    torch.testing.assert_close(found, loss())
    noise = next(iter(graphs[0].graph.nodes)).meta["val"]
    assert noise.shape == (16 * N,)


def test_operations_on_two_devices_stay_by_themselves():
    """A vector cannot be multiplied with one elsewhere, a number can."""

    def loop(x, y):
        return [(x[t] * y[t]).exp() for t in range(N)]

    graph = traced(loop, torch.zeros(N, device="meta"), numbers(N))
    groups = [u for u in plan(graph.graph).units if isinstance(u, Many)]
    assert {n.target for g in groups for n in g.nodes} == {aten.exp.default}


def test_arguments_that_nothing_holds_together():
    """Fifty parameters that are fifty tensors."""
    inputs = [numbers(2, seed=i) for i in range(N)]

    def loop(*xs):
        return [(x.exp() + 1).log() * x for x in xs]

    planned = agree(loop, *inputs)
    assert set(sizes(planned, Many)) == {N}


def test_stacks_of_the_program():
    def loop(x, y):
        found = [x[t].exp() for t in range(N)]
        wider = [(x[t] if t % 3 else y[t]).sin() for t in range(N)]
        return [torch.stack(found), torch.stack(found[::-1], 0), torch.stack(wider)]

    agree(loop, numbers(N), numbers(N, dtype=torch.float64))


def test_equal_constants_are_one_and_different_ones_are_not():
    def loop(x):
        halves = [x[t] * torch.tensor(0.5) for t in range(N)]
        parts = [x[t] * torch.tensor(float(t)) for t in range(N)]
        zeros = [x[t] / torch.tensor(z) for t in range(N) for z in (0.0, -0.0)]
        return [*halves, *parts, *zeros]

    agree(loop, numbers(N))


def test_the_order_depends_on_the_graph_alone():
    """Noise goes to the same draws in every process."""

    def loop(x):
        state, found = x.new_zeros(()), []
        for t in range(N):
            state = torch.bernoulli(torch.sigmoid(x[t] + state))
            found.append(state * x[t].exp())
        return [sum(found)]

    graph = traced(loop, numbers(N))
    tidy(graph)
    again = copy.deepcopy(graph)  # other addresses, by which sets are ordered
    for a, b in zip(graph.graph.nodes, again.graph.nodes, strict=True):
        b.meta = a.meta
    assert names(plan(graph.graph)) == names(plan(again.graph))


def names(planned):
    return [
        [n.name for n in unit.nodes] if hasattr(unit, "nodes") else str(unit)
        for unit in planned.units
        if not isinstance(unit, Total)
    ]


STEPS = [
    lambda a, b, s: a * b + 1.5,
    lambda a, b, s: (a - b).tanh(),
    lambda a, b, s: torch.where(a > b, a, s),
    lambda a, b, s: s + a.sin(),
    lambda a, b, s: (a * s).cos() + s,
    lambda a, b, s: a.unsqueeze(0).expand(2, *a.shape).sum(0) - b,
    lambda a, b, s: a,
]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    body=st.lists(st.sampled_from(range(len(STEPS))), min_size=1, max_size=6),
    taken=st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=6, max_size=6),
    carried=st.integers(0, 5),
    back=st.booleans(),
    odd=st.integers(0, N),
    shape=st.sampled_from([(), (3,)]),
)
def test_any_loop_and_its_gradient(body, taken, carried, back, odd, shape):
    """Loops of random bodies, with a pass among them that does something else."""

    def loop(x, y):
        x = x.detach().requires_grad_()
        state, found = y[0], []
        for t in range(N)[::-1] if back else range(N):
            values = [x[t], y[t], state]
            if t == odd:
                values[0] = values[0].exp()
            for step, (a, b, c) in zip(body, taken, strict=False):
                size = len(values)
                values.append(
                    STEPS[step](values[a % size], values[b % size], values[c % size])
                )
            state = values[carried % len(values)]
            found.append(values[-1])
        loss = sum(v.sum() for v in found) + (state * x[2]).sum()
        return [loss, *found, *torch.autograd.grad(loss, [x])]

    agree(loop, numbers(N, *shape), numbers(N, *shape, seed=1))


START, SEEN = numbers(20, 2, dtype=torch.float64), numbers(20, seed=3).double()


def discrete():
    """Twenty states, one after another, and a guide that follows them."""

    def model():
        level, state = pyro.param("level", torch.tensor(0.5)), torch.tensor(0.0)
        for t in range(20):
            state = pyro.sample(f"z{t}", dist.Bernoulli(logits=2 * state - 1))
            pyro.sample(f"x{t}", dist.Normal(level * state, 1.0), obs=SEEN[t])

    def guide():
        logits, state = pyro.param("logits", START.clone()), torch.tensor(0.0)
        for t in range(20):
            logit = logits[t, 0] + state * logits[t, 1]
            state = pyro.sample(f"z{t}", dist.Bernoulli(logits=logit))

    return model, guide


def gaussian():
    """A random walk, and a guide that has a parameter of its own for every step."""

    def model():
        level, state = pyro.param("level", torch.tensor(0.5)), torch.tensor(0.0)
        for t in range(20):
            state = pyro.sample(f"z{t}", dist.Normal(state, 1.0))
            pyro.sample(f"x{t}", dist.Normal(level + state, 1.0), obs=SEEN[t])

    def guide():
        for t in range(20):
            loc = pyro.param(f"loc{t}", START[t, 0].clone())
            pyro.sample(f"z{t}", dist.Normal(loc, 0.5))

    return model, guide


@pytest.fixture
def double():
    """Adam makes large steps of gradients that are nothing but rounding."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize(
    "program, estimator, particles",
    [
        (discrete, "score_function", 1),
        (discrete, "score_function", 2),
        (gaussian, "score_function", 1),
        (gaussian, "reparameterized", 2),
    ],
)
def test_a_step_is_the_same_side_by_side(
    monkeypatch, graphs, double, program, estimator, particles
):
    found = {}
    for gain in (lowering._LEAST_GAIN, 10**6):  # side by side, and never
        monkeypatch.setattr(lowering, "_LEAST_GAIN", gain)
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        elbo = pg.ELBO(
            estimators=estimator,
            num_particles=particles,
            vectorize_particles=particles > 1,
            max_plate_nesting=0,
        )
        svi = SVI(*program(), pyro.optim.Adam({"lr": 0.05}), elbo)
        compiled = pg.compile(svi)
        losses = [compiled.step() for _ in range(4)]
        values = pyro.get_param_store().named_parameters()
        found[gain] = [torch.tensor(losses), *(v.detach().clone() for _, v in values)]
    few, many = (len(graph.graph.nodes) for graph in graphs)
    assert few * 2 < many  # operations, once they are the compiler's
    torch.testing.assert_close(*found.values())
