"""A Bernoulli likelihood's value and gradient share their exponential."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI
from torch.fx.experimental.proxy_tensor import make_fx

import pgplugins as pg
from pgplugins.compiled.formulas import FORMULAS, cross_entropy, write_likelihoods

aten = torch.ops.aten
LOGITS = torch.cat([torch.linspace(-110, 110, 4001), torch.tensor([0.0, -0.0, 1e-20])])


@pytest.mark.parametrize("target", [0.0, 1.0, 0.3])
def test_the_cross_entropy_is_torchs(target):
    found = cross_entropy(LOGITS, torch.full_like(LOGITS, target))
    exact = torch.nn.functional.binary_cross_entropy_with_logits(
        LOGITS.double(), torch.full_like(LOGITS, target).double(), reduction="none"
    )
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize("dtype, units", [(torch.float32, 2), (torch.float64, 1)])
def test_the_loss_of_a_sure_success_keeps_its_digits(dtype, units):
    """A difference, or the logarithm of one plus something tiny, would be zero."""
    logits = torch.cat([torch.linspace(0, 85, 40001), torch.logspace(-30, 1, 4001)])
    logits = logits.to(dtype)
    found = cross_entropy(-logits, torch.zeros_like(logits))
    exact = torch.log1p(torch.exp(-logits.double()))
    error = (found.double() - exact).abs() / exact
    # The exponential has a rounding of its own.
    assert error.max() <= (units + 1) * torch.finfo(dtype).eps


def test_the_sigmoid_is_torchs():
    formula = FORMULAS[aten.sigmoid.default]
    exact = torch.sigmoid(LOGITS.double())
    torch.testing.assert_close(formula(LOGITS).double(), exact, rtol=1e-6, atol=1e-38)
    ends = torch.tensor([float("inf"), -float("inf"), float("nan")]).repeat(30)
    torch.testing.assert_close(formula(ends), torch.sigmoid(ends), equal_nan=True)


def test_the_hyperbolic_tangent_is_torchs_to_two_units_in_the_last_place():
    near = torch.logspace(-30, 2, 20001)
    x = torch.cat([near, -near, torch.linspace(-1, 1, 20001), torch.zeros(1)])
    exact = torch.tanh(x.double())
    found = FORMULAS[aten.tanh.default](x)
    unit = torch.finfo(torch.float32).eps * exact.abs()
    assert ((found.double() - exact).abs() <= 2 * unit + 1e-45).all()
    ends = torch.tensor([float("inf"), -float("inf"), float("nan"), -0.0]).repeat(20)
    found, exact = FORMULAS[aten.tanh.default](ends), torch.tanh(ends)
    torch.testing.assert_close(found, exact, equal_nan=True)
    assert found[3].signbit()
    assert FORMULAS[aten.tanh.default](x.double()) is NotImplemented


@pytest.mark.parametrize(
    "options, written",
    [
        ({"reduction": "none"}, True),
        ({"reduction": "sum"}, False),
        ({"reduction": "none", "weight": torch.full((99,), 2.0)}, False),
        ({"reduction": "none", "pos_weight": torch.full((99,), 2.0)}, False),
    ],
)
def test_likelihoods_are_written_in_graphs_where_nothing_is_weighed(options, written):
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    x, y = torch.linspace(-5, 5, 99), torch.linspace(0, 1, 99)
    graph = make_fx(lambda x, y: loss(x, y, **options))(x, y)
    write_likelihoods(graph.graph)
    graph.recompile()
    assert (cross_entropy in {n.target for n in graph.graph.nodes}) is written
    torch.testing.assert_close(graph(x, y), loss(x, y, **options))


def test_the_sigmoid_is_for_floating_point_numbers():
    assert FORMULAS[aten.sigmoid.default](torch.ones(99).long()) is NotImplemented


def test_a_few_numbers_are_left_to_torch():
    """A site's own logit: fifty sites would be a long graph of short formulas."""
    for name in (aten.sigmoid.default, aten.tanh.default):
        assert FORMULAS[name](torch.ones(3)) is NotImplemented


@pytest.mark.parametrize("validated", [True, False])
def test_a_likelihood_and_its_gradient_take_one_exponential(graphs, validated):
    torch.manual_seed(0)
    x, y = torch.randn(99, 3), torch.bernoulli(torch.full((99,), 0.4))

    def model():
        w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", 99):
            pyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

    def guide():
        m = pyro.param("m", torch.zeros(3))
        pyro.sample("w", dist.Normal(m, 0.1).to_event(1))

    with pyro.validation_enabled(validated):
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), pg.ELBO())
        pg.compile(svi).step()
    (graph,) = graphs
    shape = torch.Size([99])
    nodes = [n for n in graph.graph.nodes if _shape(n) == shape]
    absolute = {n.args[0] for n in nodes if n.target is aten.abs.default}
    exponentials = [n for n in nodes if n.target is aten.exp.default]
    assert (len(absolute), len(exponentials)) == (1, 1)
    # What only the value needs waits for the gradient's division: one loop has both.
    order = [n.target for n in nodes]
    assert order.index(aten.div.Tensor) < order.index(aten.clamp_min.default)
    assert aten.log.default not in order


def _shape(node):
    return getattr(node.meta.get("val"), "shape", None)


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_products_of_small_matrices_are_torchs(beta):
    torch.manual_seed(0)
    a, b, c = torch.randn(4, 3), torch.randn(3, 5), torch.randn(5)
    torch.testing.assert_close(FORMULAS[aten.mm.default](a, b), a @ b)
    found = FORMULAS[aten.addmm.default](c, a, b, beta=beta, alpha=2.0)
    torch.testing.assert_close(found, torch.addmm(c, a, b, beta=beta, alpha=2.0))
    a, b = torch.randn(2, 4, 3), torch.randn(2, 3, 5)
    torch.testing.assert_close(FORMULAS[aten.bmm.default](a, b), a @ b)


@pytest.mark.parametrize("rows, columns", [(16, 30), (24, 5), (64, 10)])
def test_products_with_columns_left_over_are_torchs(rows, columns):
    torch.manual_seed(0)
    a, b = torch.randn(rows, 600), torch.randn(600, columns)
    found = FORMULAS[aten.mm.default](a, b)
    exact = (a.double() @ b.double()).float()
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-4)
    assert found.shape == exact.shape
    # The library makes it the other way around, and need not be asked twice.
    assert FORMULAS[aten.mm.default](b.t(), a.t()) is NotImplemented
    assert FORMULAS[aten.mm.default](a.double(), b.double()) is NotImplemented


def test_products_of_large_matrices_are_left_to_the_library():
    a = torch.zeros(20, 20)
    assert FORMULAS[aten.mm.default](a, a) is NotImplemented
    assert FORMULAS[aten.addmm.default](a, a, a) is NotImplemented
    assert FORMULAS[aten.bmm.default](a[None], a[None]) is NotImplemented


def test_products_that_loops_would_change_are_left_to_the_library():
    a = torch.full((2, 2), 100, dtype=torch.int8)  # torch's products wrap around
    assert FORMULAS[aten.mm.default](a, a) is NotImplemented
    assert FORMULAS[aten.addmm.default](a, a, a) is NotImplemented
    assert FORMULAS[aten.bmm.default](a[None], a[None]) is NotImplemented
    a, nothing = torch.ones(2, 2), torch.full((2, 2), float("nan"))
    assert FORMULAS[aten.addmm.default](nothing, a, a, beta=0) is NotImplemented


def test_two_draws_from_one_law_are_two():
    concentration = torch.full((3,), 2.0, requires_grad=True)
    laws = {
        "dirichlet": lambda: dist.Dirichlet(concentration),
        "gamma": lambda: dist.Gamma(concentration, 1.0).to_event(1),
        "cauchy": lambda: dist.Cauchy(concentration, 1.0).to_event(1),
        "normal": lambda: dist.Normal(concentration, 1.0).to_event(1),
    }
    for law in laws.values():

        def program(law=law):
            a, b = pyro.sample("a", law()), pyro.sample("b", law())
            pg.cost("apart", (a - b).abs().min())

        cost = pg.ExpectedCost(num_particles=1, max_plate_nesting=0)
        loss = pg.compile(lambda cost=cost, program=program: cost(program))
        assert min(loss().item() for _ in range(3)) > 0.0


def test_what_is_written_twice_is_computed_once(graphs):
    w = torch.linspace(-1, 1, 3).requires_grad_()
    loss = pg.compile(lambda x: (x.sin() + w * x.sin() + x.sin() * 1.0).sum())
    loss(torch.ones(3))
    (graph,) = graphs
    assert [n.target for n in graph.graph.nodes].count(aten.sin.default) == 1


def test_a_rollout_has_no_call_of_a_library(graphs):
    torch.manual_seed(0)
    dynamics = torch.randn(3, 3)
    gain = torch.randn(2, 3, requires_grad=True)
    control = torch.randn(3, 2)

    def program():
        state = torch.ones(3)
        for t in range(3):
            policy = dist.Normal(state @ gain.T, 0.1).to_event(1)
            action = pyro.sample(f"action_{t}", policy)
            state = state @ dynamics.T + action @ control.T
            pg.cost(f"cost_{t}", (state**2).sum(-1))

    cost = pg.ExpectedCost(num_particles=1, max_plate_nesting=0)
    loss = pg.compile(lambda: cost(program))
    loss().backward()
    (graph,) = graphs
    products = {aten.mm.default, aten.bmm.default, aten.addmm.default, aten.mv.default}
    assert not products & {node.target for node in graph.graph.nodes}
