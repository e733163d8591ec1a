"""With the compiler: the same numbers as from the graphs themselves."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal

import pgplugins as pg
from pgplugins.compiled import lowering
from pgplugins.errors import CompileWarning
from tests.compiled.programs import (
    DATA,
    exact_svi,
    mixture_guide,
    mixture_model,
    normal_guide,
    normal_model,
    parameters,
    posterior,
    svi,
)


def test_compiled_steps_are_those_of_plain_svi(inductor):
    plain = exact_svi()
    losses = [plain.step() for _ in range(20)]
    want = parameters()
    compiled = pg.compile(exact_svi())
    assert compiled.run(20, progress=False).tolist() == pytest.approx(losses, rel=1e-5)
    torch.testing.assert_close(parameters(), want)


@pytest.mark.parametrize("model", ["normal", "mixture"])
def test_the_compiler_and_the_interpreter_take_the_same_noise(
    monkeypatch, inductor, model
):
    programs = {
        "normal": (normal_model, normal_guide),
        "mixture": (mixture_model, mixture_guide),
    }

    def trained():
        pyro.set_rng_seed(0)
        settings = {"num_particles": 4, "vectorize_particles": True}
        compiled = pg.compile(svi(*programs[model], **settings))
        return compiled.run(50, progress=False), parameters()

    losses, params = trained()
    monkeypatch.setattr(lowering, "_compile", lowering._interpreted)
    again, others = trained()
    torch.testing.assert_close(losses, again, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(params, others, rtol=1e-4, atol=1e-4)


def test_a_discrete_posterior_is_reached_with_leave_one_out(inductor):
    pyro.set_rng_seed(0)
    settings = {"num_particles": 16, "vectorize_particles": True}
    compiled = pg.compile(svi(mixture_model, mixture_guide, **settings))
    compiled.run(1500, progress=False)
    found = torch.sigmoid(parameters()["logits"])
    torch.testing.assert_close(found, posterior(), atol=0.05, rtol=0)


def test_an_automatic_guide(inductor):
    def model():
        loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
        scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        with pyro.plate("data", 4):
            pyro.sample("x", dist.Normal(loc, scale), obs=DATA)

    pyro.set_rng_seed(0)
    guide = AutoNormal(model)
    compiled = pg.compile(svi(model, guide, pyro.optim.Adam({"lr": 0.02})))
    losses = compiled.run(1500, progress=False)
    assert losses[-300:].mean() < losses[:300].mean() - 0.5
    assert guide.median()["loc"].item() == pytest.approx(DATA.mean().item(), abs=0.3)


def test_double_precision(inductor, monkeypatch):
    torch.set_default_dtype(torch.float64)
    try:
        compiled = pg.compile(exact_svi())
        plain = compiled.run(5, progress=False)
        assert plain.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_without_a_compiler_the_graph_runs_as_it_is(inductor, monkeypatch):
    from torch._inductor import cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler

    def missing(*args, **kwargs):
        raise InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", missing)
    plain = exact_svi()
    losses = [plain.step() for _ in range(5)]
    torch.compiler.reset()
    with torch._inductor.config.patch(force_disable_caches=True):
        with pytest.warns(CompileWarning, match=r"No C\+\+ compiler"):
            compiled = pg.compile(exact_svi())
            found = compiled.run(5, progress=False)
    assert found.tolist() == pytest.approx(losses, rel=1e-5)


def test_inferences_that_share_code_do_not_disturb_one_another(inductor):
    plain = exact_svi()
    losses = [plain.step() for _ in range(12)]
    # Each has parameters of its own, under its own store.
    stores, compiled = [], []
    for _ in range(2):
        compiled.append(pg.compile(exact_svi()))
        compiled[-1].step()
        stores.append(pyro.get_param_store().get_state())
    found: list[list[float]] = [losses[:1], losses[:1]]
    for _ in range(11):
        for i, one in enumerate(compiled):
            pyro.get_param_store().set_state(stores[i])
            found[i] = [*found[i], one.step()]
            stores[i] = pyro.get_param_store().get_state()
    for one in found:
        assert one == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize("early", [True, False])
def test_a_run_that_is_interrupted_leaves_nothing_askew(inductor, early):
    plain = exact_svi()
    losses = [plain.step() for _ in range(12)]
    compiled = pg.compile(exact_svi())
    found = [compiled.step()]
    if not early:
        found += compiled.run(5, progress=False).tolist()
    (known,) = compiled._known.values()
    step = known.step
    if step._scratch is None:
        pytest.skip("this version of the compiler allocates in another way")
    allocate = step._scratch._names["empty_strided_cpu"]
    with pytest.raises(KeyboardInterrupt), step._alone:
        allocate((3,), (1,), torch.float32)  # somewhere on the way
        raise KeyboardInterrupt
    found += compiled.run(12 - len(found), progress=False).tolist()
    assert found == pytest.approx(losses, rel=1e-5)


def test_what_one_call_has_returned_is_not_overwritten_by_the_next(inductor):
    """The code works in memory that it keeps."""
    matrix = torch.randn(80, 80)
    mu = torch.zeros(80, requires_grad=True)

    @pg.compile
    def loss(target):
        return ((mu - target) @ matrix @ matrix.T @ (mu - target)).sum()

    targets = [torch.full((80,), float(i)) for i in range(4)]
    losses = [loss(target) for target in targets]
    for found, target in zip(losses, targets, strict=True):
        exact = -2 * matrix @ (matrix.T @ target)
        (gradient,) = torch.autograd.grad(found, mu)
        torch.testing.assert_close(gradient, exact, rtol=1e-4, atol=1e-2)
