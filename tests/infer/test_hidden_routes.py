"""Ways from a draw to a cost of which torch tells no tensor subclass.

Most of these lie in C++ code that reads a tensor where it expects a number. Their
values are lost to tracking, so under the watch they escape.
"""

import dataclasses

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.func import functionalize, grad, vjp
from torch.utils.dlpack import from_dlpack, to_dlpack

import pgplugins as pg
from tests.infer.same import ours
from tests.infer.scripted import moments
from tests.infer.test_control_flow import (
    ROUTES,
    assert_exact,
    into_a_buffer,
    into_a_row,
    through,
)

F = torch.nn.functional
ONE = torch.ones(())


class Tripled(torch.nn.Module):
    def forward(self, x):
        return 3 * x


@torch.jit.script
def scripted_triple(x: torch.Tensor):
    return 3 * x


scripted_module = torch.jit.script(Tripled())
traced_triple = torch.jit.trace(lambda x: 3 * x, ONE)


def replaced_data(c):
    buffer = torch.zeros(())
    buffer.data = 3 * c
    return buffer


def replaced_parameter(c):
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.utils.vector_to_parameters(3 * c.reshape(1), module.parameters())
    return module.weight.detach()


def given_storage(c):
    buffer = torch.zeros(())
    return buffer.set_(3 * c)


def in_a_gradient(backward):
    def route(c):
        x = torch.ones((), requires_grad=True)
        backward(3 * c * x)
        return x.grad

    return route


def optimized(c):
    x = torch.nn.Parameter(torch.zeros(()))
    x.grad = -3 * c.clone()
    torch.optim.SGD([x], lr=1.0).step()
    return x.detach()


def caught(c):
    try:
        torch.linalg.cholesky((c - 0.5).reshape(1, 1))
    except torch.linalg.LinAlgError:
        return 0.0
    return 3.0


def caught_index(c):
    try:
        torch.ones(2).sum(c.long())
    except IndexError:
        return 3.0
    return 0.0


@dataclasses.dataclass
class Box:
    content: torch.Tensor


class Unpack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, box):
        return scripted_triple(box.content) * x

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def by_callback(c):
    """Torch calls the function where no subclass is asked."""
    buffer = torch.zeros(1)

    def distance(a, _):
        buffer.copy_(3 * c)
        return a.sum(-1)

    x = torch.ones(1, 1) + 0 * c
    F.triplet_margin_with_distance_loss(x, x, x, distance_function=distance)
    return buffer[0]


HIDDEN = {
    # numbers that torch makes of tensors
    "tensor": lambda c: 3 * torch.tensor(c),
    "a list in a list": lambda c: 3 * torch.tensor([[c]]),
    "full": lambda c: torch.full((), 3 * c),
    "full_like": lambda c: torch.full_like(ONE, 3 * c),
    "new_tensor": lambda c: ONE.new_tensor(3 * c),
    "new_full": lambda c: ONE.new_full((), 3 * c),
    "scalar_tensor": lambda c: torch.scalar_tensor(3 * c),
    "as_tensor, dtype": lambda c: 3 * torch.as_tensor(c, dtype=torch.float32),
    "asarray, dtype": lambda c: 3 * torch.asarray(c, dtype=torch.float32),
    "asarray, copy": lambda c: 3 * torch.asarray(c, copy=True),
    "alpha": lambda c: torch.add(0 * ONE, ONE, alpha=3 * c),
    "value": lambda c: torch.addcmul(0 * ONE, ONE, ONE, value=3 * c),
    "a slope": lambda c: -F.leaky_relu(-ONE, 3 * c),
    "elu": lambda c: F.elu(-ONE, 3 * c) / (torch.exp(-ONE) - 1),
    "threshold": lambda c: F.threshold(-ONE, 0.0, 3 * c),
    "padding": lambda c: F.pad(torch.zeros(0), (1, 0), value=3 * c),
    "nan_to_num": lambda c: torch.nan_to_num(ONE / 0 - ONE / 0, nan=3 * c),
    "scatter_, value": into_a_buffer(
        lambda b, x: b.scatter_(0, torch.tensor([1]), value=x)
    ),
    "fill_diagonal_": lambda c: torch.zeros(1, 1).fill_diagonal_(3 * c),
    "add_, alpha": into_a_buffer(lambda b, x: b[:1].add_(1.0, alpha=x)),
    "uniform_": lambda c: torch.zeros(()).uniform_(3 * c, 3 * c + 1e-300),
    "_foreach_add": lambda c: torch._foreach_add([0 * ONE], 3 * c)[0],
    "_foreach_add_": into_a_buffer(lambda b, x: torch._foreach_add_([b[:1]], x)),
    "an operator in place": into_a_buffer(
        lambda b, x: torch.ops.aten.add_.Tensor(b[0], x)
    ),
    # sizes
    "a size": lambda c: 1.0 * torch.zeros(3 * c.long()).numel(),
    "sizes": lambda c: 1.0 * torch.zeros((3 * c.long(), 1)).numel(),
    "arange": lambda c: 1.0 * torch.arange(3 * c).numel(),
    "eye": lambda c: torch.eye(3 * c.long()).sum(),
    "steps": lambda c: 1.0 * torch.linspace(0, 1, 3 * c.long()).numel(),
    "view": lambda c: 3.0 * torch.ones(2).view(c.long() + 1, -1).shape[0] - 3,
    "expand": lambda c: 3.0 * ONE.expand(c.long() + 1).numel() - 3,
    "chunks": lambda c: 3.0 * len(torch.ones(2).chunk(c.long() + 1)) - 3,
    "topk": lambda c: 3 * torch.ones(2).topk(c.long()).values.sum(),
    "one_hot": lambda c: 3.0 * F.one_hot(c.long()).shape[-1] - 3,
    "tensor_split": lambda c: 3.0 * len(torch.ones(2).tensor_split(c.long() + 1)) - 3,
    "packed": lambda c: (
        3.0
        * torch.nn.utils.rnn.pack_padded_sequence(
            torch.ones(2, 1, 1), c.long().reshape(1) + 1
        ).data.numel()
        - 3
    ),
    # positions
    "roll": lambda c: torch.tensor([0.0, 3.0]).roll(c.long())[0],
    "a dimension": lambda c: 3 * torch.ones(1, 2).sum(c.long())[0] - 3,
    "a diagonal": lambda c: 3 * torch.ones(1, 1).tril(c.long() - 1).sum(),
    "select": into_a_row(lambda b, i: b.select(0, i).fill_(3.0)),
    "narrow": into_a_row(lambda b, i: b.narrow(0, i, 1).fill_(3.0)),
    "a view at a draw": into_a_row(lambda b, i: b[i].fill_(3.0)),
    "a detached view at a draw": into_a_row(lambda b, i: b[i].detach().fill_(3.0)),
    # memory
    "data =": replaced_data,
    "a parameter's data": replaced_parameter,
    "set_": given_storage,
    "view_as": into_a_buffer(lambda b, x: b[0].view_as(x).add_(x)),
    "detached": into_a_buffer(lambda b, x: b[0].view_as(x).detach().add_(x)),
    "broadcast": into_a_buffer(
        lambda b, x: torch.broadcast_tensors(b[0], x)[0].add_(x)
    ),
    "from_dlpack": lambda c: torch.from_dlpack(3 * c),
    "nested": lambda c: torch.nested.nested_tensor([3 * c.reshape(1)]).to_padded_tensor(
        0.0
    ),
    "sparse": lambda c: torch.sparse_coo_tensor(
        [[0]], 3 * c.reshape(1), (1,)
    ).to_dense(),
    "Tensor": lambda c: torch.DoubleTensor(3 * c.reshape(1)),
    # functions that are not what they were in Python
    "jit.script": scripted_triple,
    "jit.script, keyword": lambda c: scripted_triple(x=c),
    "a scripted module": scripted_module,
    "jit.trace": traced_triple,
    "in a box": lambda c: Unpack.apply(ONE, Box(c)),
    "by a callback": by_callback,
    # derivatives
    "func.grad": lambda c: grad(lambda t: 1.5 * t**2)(c),
    "func.grad of a tensor": lambda c: grad(lambda t: t * torch.tensor(3 * c))(ONE),
    "vjp": lambda c: vjp(lambda t: 1.5 * t**2, c)[1](ONE)[0],
    "value of vjp": lambda c: vjp(lambda t: 3 * t, c)[0],
    "functionalize": lambda c: functionalize(lambda t: 3 * t)(c),
    "backward": in_a_gradient(lambda y: y.backward()),
    "autograd.backward": in_a_gradient(torch.autograd.backward),
    "optimizer": optimized,
    # errors
    "an error of a hidden value": caught_index,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", HIDDEN)
def test_every_hidden_route_from_a_draw_to_a_cost(name):
    gradient = assert_exact(*through(HIDDEN[name]))
    assert gradient.item() == pytest.approx(-0.75)


@torch.jit.script
def fused_triple(x: torch.Tensor):
    return (x + x) * 1.0 + x


def through_a_fused_kernel(c):
    """What TorchScript does on GPUs by default, once it has run a few times."""
    jit = torch._C
    on_cpu, llvm = jit._jit_can_fuse_on_cpu(), jit._jit_get_te_must_use_llvm_cpu()
    jit._jit_override_can_fuse_on_cpu(True)
    jit._jit_set_te_must_use_llvm_cpu(False)
    try:
        for _ in range(3):
            fused_triple(torch.ones(()))
        return fused_triple(c)
    finally:
        jit._jit_override_can_fuse_on_cpu(on_cpu)
        jit._jit_set_te_must_use_llvm_cpu(llvm)


BEYOND = {
    "a fused kernel": through_a_fused_kernel,
    "raw dlpack": lambda c: from_dlpack(to_dlpack(3 * c)),
    "a subclass made by hand": lambda c: torch.Tensor._make_subclass(
        torch.Tensor, 3 * c
    ),
    "an error": caught,
}


@pytest.mark.xfail(reason="nothing happens that could be seen", strict=True)
@pytest.mark.parametrize("name", BEYOND)
def test_routes_that_are_lost(name):
    """Memory is read without any operation, or an error does not happen."""
    assert_exact(*through(BEYOND[name]))


@pytest.mark.parametrize("name", BEYOND)
@pytest.mark.parametrize("dependencies", ["plates", "order"])
def test_other_dependencies_do_not_lose_them(name, dependencies):
    model, guide = through(BEYOND[name])
    guide()
    found = moments(ours(dependencies=dependencies), model, guide)
    assert found.mean.item() == pytest.approx(-0.75)


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_compiled_functions(backend):
    """They run as they are written, so nothing is lost, and nothing is compiled."""
    compiled = torch.compile(lambda t: 3 * t, backend=backend)
    model, guide = through(compiled)
    assert assert_exact(model, guide).item() == pytest.approx(-0.75)
    objective = ours(dependencies="provenance")
    for _ in range(4):  # the last runs go without the watch
        assert objective.loss(model, guide) > 0


def test_a_distribution_that_keeps_a_draw_where_nobody_looks():
    def model():
        c = pyro.sample("c", dist.Bernoulli(0.5))

        class Around(dist.Normal):
            def log_prob(self, value):
                return super().log_prob(value - 3 * c)

        pyro.sample("x", Around(0.0, 1.0), obs=torch.tensor(2.5))

    _, guide = through(ROUTES["if"])
    assert assert_exact(model, guide).item() == pytest.approx(-0.75)


def test_several_rows_are_refused():
    model, guide = through(HIDDEN["jit.script"])
    with pytest.raises(pg.PgpluginsError, match=r"site 'c' to torch's '.*several rows"):
        pg.ELBO(estimators="enumerate").loss_and_grads(model, guide)
