"""Sound dependencies: whatever way a draw takes to a cost, the score site sees it.

The gradient's exact mean, over every path that the program's coins can take, is that of
the exact loss. Trace_ELBO has this for being blind to structure; TraceGraph_ELBO has
not.
"""

import copy
import math
import pickle

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import TraceGraph_ELBO
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp

from tests.infer.same import ours
from tests.infer.scripted import Coin, exact, moments


def sound(**arguments):
    return ours(dependencies="provenance", **arguments)


def assert_exact(model, guide, **arguments):
    """The exact mean of the estimate is the gradient of the exact loss."""
    pyro.clear_param_store()
    gradient, loss = exact(model, guide)
    found = moments(sound(**arguments), model, guide)
    torch.testing.assert_close(found.mean, gradient, rtol=1e-9, atol=1e-9)
    assert found.loss == pytest.approx(loss, rel=1e-9)
    return gradient


def through(route):
    """A coin whose value reaches the mean of an observation by ``route``."""

    def model():
        c = pyro.sample("c", dist.Bernoulli(0.5))
        mean = torch.as_tensor(route(c), dtype=torch.float64).reshape(())
        pyro.sample("x", dist.Normal(mean, 1.0), obs=torch.tensor(2.5))

    def guide():
        pyro.sample("c", Coin(logits=pyro.param("l", torch.tensor(0.0))))

    return model, guide


class Triple(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 3 * x

    @staticmethod
    def backward(ctx, gradient):
        return 3 * gradient


class TripleInNumpy(Triple):
    @staticmethod
    def forward(ctx, x):
        return torch.from_numpy(np.asarray(3 * x.numpy()))


def count_up(c):
    n = 0
    while n < 3 * c:
        n += 1
    return float(n)


def into_a_buffer(write):
    def route(c):
        buffer = torch.zeros(3)
        write(buffer, 3 * c)
        return buffer.sum()

    return route


def into_a_row(write):
    def route(c):
        buffer = torch.zeros(2)
        write(buffer, c.long())
        return buffer[1]

    return route


def into_an_array(c):
    array = np.zeros(3)
    array[1] = 3 * c
    return array.sum()


def in_a_module(c):
    module = torch.nn.Module()
    module.register_buffer("state", torch.zeros(()))
    module.state.copy_(3 * c)
    return module.state


def raises(c):
    try:
        torch.testing.assert_close(c, torch.tensor(1.0))
    except AssertionError:
        return 0.0
    return 3.0


ROUTES = {
    # branches
    "if": lambda c: 3.0 if c > 0 else 0.0,
    "if ==": lambda c: 3.0 if c == 1 else 0.0,
    "if not": lambda c: 0.0 if not c else 3.0,
    "any": lambda c: 3.0 if any([c]) else 0.0,
    "max": lambda c: 3 * max(0.0, c),
    "torch.equal": lambda c: 3.0 if torch.equal(c, torch.tensor(1.0)) else 0.0,
    "torch.allclose": lambda c: 3.0 if torch.allclose(c, torch.ones(())) else 0.0,
    "while": count_up,
    "except": raises,
    "membership": lambda c: 3.0 if c in [torch.tensor(1.0)] else 0.0,
    # numbers
    "item": lambda c: 3 * c.item(),
    "float": lambda c: 3 * float(c),
    "complex": lambda c: 3 * complex(c).real,
    "tolist": lambda c: 3 * c.tolist(),
    "math": lambda c: 3 * math.floor(c),
    "numpy": lambda c: 3 * c.numpy(),
    "np.asarray": lambda c: 3 * np.asarray(c),
    "np.multiply": lambda c: np.multiply(c, 3.0),
    "range": lambda c: 3.0 * len(range(int(c))),
    # text
    "f-string": lambda c: 3 * float(f"{c:.2f}"),
    "str": lambda c: 3.0 if "1" in str(c) else 0.0,
    "a key made of text": lambda c: {"0.0": 0.0, "1.0": 3.0}[f"{c}"],
    # indices
    "list": lambda c: [0.0, 3.0][int(c)],
    "list by tensor": lambda c: [0.0, 3.0][c.long()],
    "dict": lambda c: {0: 0.0, 1: 3.0}[int(c)],
    "dict by bool": lambda c: {False: 0.0, True: 3.0}[bool(c)],
    "tensor": lambda c: torch.tensor([0.0, 3.0])[c.long()],
    "gather": lambda c: torch.tensor([0.0, 3.0]).gather(0, c.long().reshape(1)),
    "slice": lambda c: torch.ones(3)[: 3 * c.long()].sum(),
    # shapes
    "mask": lambda c: 1.0 * torch.ones(3)[c.bool().expand(3)].numel(),
    "masked_select": lambda c: 1.0 * len(torch.ones(3).masked_select(c.bool())),
    "nonzero": lambda c: 3.0 * c.reshape(1).nonzero().shape[0],
    "repeat_interleave": lambda c: (
        1.0 * torch.ones(1).repeat_interleave(3 * c.long()).numel()
    ),
    "unique": lambda c: 3.0 * len(torch.stack([c, 0 * c]).unique()) - 3.0,
    "torch.zeros(int)": lambda c: 1.0 * len(torch.zeros(int(3 * c))),
    # writes
    "setitem": into_a_buffer(lambda b, x: b.__setitem__(0, x)),
    "copy_": into_a_buffer(lambda b, x: b[0].copy_(x)),
    "fill_": into_a_buffer(lambda b, x: b[:1].fill_(x)),
    "add_": into_a_buffer(lambda b, x: b[:1].add_(x)),
    "index_put_": into_a_buffer(lambda b, x: b.index_put_((torch.tensor(1),), x)),
    "masked_fill_": into_a_buffer(lambda b, x: b[:1].masked_fill_(x > 0, 3.0)),
    "out=": into_a_buffer(lambda b, x: torch.mul(x, torch.ones(()), out=b[0])),
    "write to data": into_a_buffer(lambda b, x: b[0].data.copy_(x)),
    "out= of all": lambda c: torch.mul(c, 3.0, out=torch.zeros(())),
    "a view chosen by a draw": into_a_buffer(lambda b, x: b[: x.long()].fill_(1.0)),
    "scatter_": into_a_row(lambda b, i: b.scatter_(0, i.reshape(1), 3.0)),
    "setitem by a draw": into_a_row(lambda b, i: b.__setitem__(i, 3.0)),
    "array": into_an_array,
    "module state": in_a_module,
    # copies
    "detach": lambda c: 3 * c.detach(),
    "data": lambda c: 3 * c.data,
    "clone": lambda c: 3 * c.clone(),
    "deepcopy": lambda c: 3 * copy.deepcopy(c),
    "pickle": lambda c: 3 * pickle.loads(pickle.dumps(c)),
    "Parameter": lambda c: torch.nn.Parameter(3 * c),
    "as_tensor": lambda c: 3 * torch.as_tensor(c),
    "tensor of a list": lambda c: 3 * torch.tensor([c]),
    "storage": lambda c: 3 * c.storage()[0],
    # operations
    "where": lambda c: torch.where(c > 0, 3.0, 0.0),
    "stack": lambda c: torch.stack([c, c, c]).sum(),
    "unbind": lambda c: (3 * c.reshape(1)).unbind()[0],
    "iteration": lambda c: sum(t for t in 3 * c.reshape(1)),
    "topk": lambda c: torch.stack([3 * c, -c]).topk(1).values[0],
    "einsum": lambda c: torch.einsum("i,i->", torch.ones(3), c.expand(3)),
    "clamp": lambda c: torch.clamp(torch.tensor(3.0), max=3 * c),
    "reflected": lambda c: 4.0 ** (c * math.log(3) / math.log(4)) * c,
    "no_grad": lambda c: torch.no_grad()(lambda: 3 * c)(),
    "custom function": lambda c: Triple.apply(c),
    "custom function in numpy": lambda c: TripleInNumpy.apply(c),
    "functional": lambda c: torch.nn.functional.linear(c.reshape(1), 3 * torch.eye(1)),
    "checkpoint": lambda c: torch.utils.checkpoint.checkpoint(
        lambda t: 3 * t, c, use_reentrant=False
    ),
    # transforms
    "vmap": lambda c: torch.vmap(lambda t: 3 * t)(c.reshape(1)),
    "vmap, captured": lambda c: torch.vmap(lambda t: t * c)(3 * torch.ones(1)),
    "grad, captured": lambda c: grad(lambda t: 3 * t * c)(torch.tensor(1.0)),
    "jvp, captured": lambda c: jvp(
        lambda t: 3 * t * c, (torch.ones(()),), (torch.ones(()),)
    )[1],
    "jacrev": lambda c: jacrev(lambda t: 1.5 * t**2)(c),
    "jacfwd": lambda c: jacfwd(lambda t: 1.5 * t**2)(c),
    "hessian": lambda c: hessian(lambda t: 0.5 * t**3)(c),
    "functional_call": lambda c: functional_call(
        torch.nn.Linear(1, 1, bias=False),
        {"weight": 3 * c.reshape(1, 1)},
        torch.ones(1),
    ),
}


@pytest.mark.parametrize("name", ROUTES)
def test_every_route_from_a_draw_to_a_cost(name):
    gradient = assert_exact(*through(ROUTES[name]))
    assert gradient.item() == pytest.approx(-0.75)


def test_tracegraph_elbo_is_wrong_here():
    model, guide = through(ROUTES["if"])
    guide()
    assert moments(TraceGraph_ELBO(), model, guide).mean.item() == 0.0


def test_a_random_number_of_sites():
    """A geometric loop, cut off, with a latent and an observation per round."""

    def rounds(coin, note):
        t = 0
        while t < 3 and coin(f"go{t}", t):
            note(t)
            t += 1
        return t

    def model():
        total = torch.zeros(())

        def note(t):
            nonlocal total
            total = total + pyro.sample(f"s{t}", dist.Bernoulli(0.3))

        n = rounds(lambda name, t: pyro.sample(name, dist.Bernoulli(0.6)), note)
        pyro.sample("x", dist.Normal(total + n, 1.0), obs=torch.tensor(2.2))

    def guide():
        go = pyro.param("go", torch.tensor([0.3, -0.2, 0.5]))
        s = pyro.param("s", torch.tensor([0.1, 0.4, -0.7]))
        rounds(
            lambda name, t: pyro.sample(name, Coin(logits=go[t])),
            lambda t: pyro.sample(f"s{t}", Coin(logits=s[t])),
        )

    assert assert_exact(model, guide).all()


def test_a_branch_decides_which_sites_there_are():
    def model():
        c = pyro.sample("c", dist.Bernoulli(0.4))
        if c > 0:
            d = pyro.sample("d", dist.Bernoulli(0.7))
            pyro.sample("x", dist.Normal(d, 1.0), obs=torch.tensor(1.2))
        else:
            pyro.sample("y", dist.Normal(1.5, 1.0), obs=torch.tensor(-0.3))

    def guide():
        p = pyro.param("p", torch.tensor([0.3, -0.4]))
        if pyro.sample("c", Coin(logits=p[0])) > 0:
            pyro.sample("d", Coin(logits=p[1]))

    assert assert_exact(model, guide).all()


def test_a_branch_in_the_guide_reaches_what_the_guide_does_next():
    def model():
        pyro.sample("c", dist.Bernoulli(0.4))
        d = pyro.sample("d", dist.Bernoulli(0.7))
        pyro.sample("x", dist.Normal(2 * d, 1.0), obs=torch.tensor(1.2))

    def guide():
        p = pyro.param("p", torch.tensor([0.3, -0.4, 0.9]))
        c = pyro.sample("c", Coin(logits=p[0]))
        pyro.sample("d", Coin(logits=p[1] if c else p[2]))

    assert assert_exact(model, guide).all()


@pytest.mark.parametrize(
    "around",
    [
        lambda c: poutine.scale(scale=1.0 + 2 * c),
        lambda c: poutine.mask(mask=c.bool()),
        lambda c: poutine.mask(mask=bool(c)),
        lambda c: poutine.scale(scale=1.0 + 2 * float(c)),
        lambda c: poutine.condition(data={"y": c + 0.3}),
    ],
    ids=["scale", "mask", "mask by bool", "scale by number", "condition"],
)
def test_handlers_that_take_a_draw(around):
    def model():
        c = pyro.sample("c", dist.Bernoulli(0.5))
        with around(c):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.tensor(2.5))
            pyro.sample("y", dist.Normal(2.0, 1.0), obs=torch.tensor(1.5))

    _, guide = through(ROUTES["if"])
    assert assert_exact(model, guide).all()


def test_values_that_are_observed_where_they_were_drawn():
    def model():
        c = pyro.sample("c", dist.Bernoulli(0.5))
        pyro.sample("x", dist.Normal(2.5, 1.0), obs=3 * c)
        pyro.factor("f", 0.3 * c)
        pyro.deterministic("d", c)
        pyro.sample("k", dist.Delta(c, log_density=0.4 * c), obs=c.detach())

    _, guide = through(ROUTES["if"])
    assert assert_exact(model, guide).all()


def test_what_a_draw_leaves_behind_outside_the_program():
    """State that outlives a run is plain in the next: only this run's draws count."""
    memory = {}

    def model():
        c = pyro.sample("c", dist.Bernoulli(0.5))
        memory.setdefault("first", c)
        pyro.sample("x", dist.Normal(3 * c, 1.0), obs=torch.tensor(2.5))
        pyro.sample("y", dist.Normal(0 * memory["first"], 1.0), obs=torch.tensor(1.0))

    _, guide = through(ROUTES["if"])
    assert_exact(model, guide)
    assert type(memory["first"] + 1) is torch.Tensor


def test_particles_that_branch():
    model, guide = through(ROUTES["if"])
    assert_exact(model, guide, num_particles=3)


def test_printing_a_draw_changes_no_value(capsys):
    def model():
        c = pyro.sample("c", dist.Bernoulli(0.5))
        print(c, f"{c:.1f}", repr(c))
        pyro.sample("x", dist.Normal(3 * c, 1.0), obs=torch.tensor(2.5))

    _, guide = through(ROUTES["if"])
    pyro.clear_param_store()
    sound().loss(model, guide)
    assert capsys.readouterr().out in (
        "tensor(0.) 0.0 tensor(0.)\n",
        "tensor(1.) 1.0 tensor(1.)\n",
    )
