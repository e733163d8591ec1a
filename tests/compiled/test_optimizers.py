"""Compiled steps against plain ones, on an objective without noise."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI

import pgplugins as pg
from tests.compiled.programs import exact_svi, parameters

INSIDE = {
    "Adam": lambda: pyro.optim.Adam({"lr": 0.1, "betas": (0.7, 0.9)}),
    "Adam, amsgrad and decay": lambda: pyro.optim.Adam(
        {"lr": 0.1, "amsgrad": True, "weight_decay": 0.2}
    ),
    "Adam, maximize": lambda: pyro.optim.Adam({"lr": 0.01, "maximize": True}),
    "AdamW": lambda: pyro.optim.AdamW({"lr": 0.1, "weight_decay": 0.3}),
    "ClippedAdam": lambda: pyro.optim.ClippedAdam(
        {"lr": 0.1, "lrd": 0.9, "clip_norm": 0.2, "weight_decay": 0.1}
    ),
    "ClippedAdam, centred": lambda: pyro.optim.ClippedAdam(
        {"lr": 0.1, "centered_variance": True}
    ),
    "SGD": lambda: pyro.optim.SGD({"lr": 0.1, "weight_decay": 0.1}),
    "SGD, momentum": lambda: pyro.optim.SGD(
        {"lr": 0.05, "momentum": 0.8, "dampening": 0.5}
    ),
    "SGD, Nesterov": lambda: pyro.optim.SGD(
        {"lr": 0.05, "momentum": 0.8, "nesterov": True}
    ),
    "by parameter": lambda: pyro.optim.Adam(lambda name: {"lr": 0.03}),
}
OUTSIDE = {
    "RMSprop": lambda: pyro.optim.RMSprop({"lr": 0.1}),
    "clipped": lambda: pyro.optim.Adam({"lr": 0.1}, {"clip_norm": 0.05}),
    "scheduled": lambda: pyro.optim.ExponentialLR(
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.1}, "gamma": 0.9}
    ),
}


def state_of(optim):
    (state,) = optim.get_state().values()
    found = state.get("state", state)
    groups = [
        {k: v for k, v in group.items() if k != "params"}
        for group in state.get("param_groups", [])
    ]
    return found, groups


def assert_same(a, b):
    assert type(a) is type(b), (a, b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    elif isinstance(a, torch.Tensor):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=1e-12)
    else:
        assert a == b


@pytest.mark.parametrize("name", [*INSIDE, *OUTSIDE])
def test_steps_are_those_of_plain_svi(name):
    make = {**INSIDE, **OUTSIDE}[name]
    plain = exact_svi(make())
    losses = [plain.step() for _ in range(12)]
    want, state = parameters(), state_of(plain.optim)

    svi = exact_svi(make())
    compiled = pg.compile(svi)
    assert [compiled.step() for _ in range(12)] == pytest.approx(losses, rel=1e-5)
    assert_same(parameters(), want)
    assert_same(state_of(svi.optim), state)


@pytest.mark.parametrize("name", INSIDE)
def test_many_steps_at_once_are_those_of_plain_svi(name):
    plain = exact_svi(INSIDE[name]())
    losses = [plain.step() for _ in range(30)]
    want, state = parameters(), state_of(plain.optim)

    svi = exact_svi(INSIDE[name]())
    found = pg.compile(svi).run(30, progress=False)
    assert found.tolist() == pytest.approx(losses, rel=1e-4)
    assert_same(parameters(), want)
    assert_same(state_of(svi.optim), state)


def test_a_known_rule_leaves_nothing_to_the_optimizer(monkeypatch):
    svi = exact_svi(pyro.optim.Adam({"lr": 0.1}))
    compiled = pg.compile(svi)
    compiled.step()
    monkeypatch.setattr(torch.optim.Adam, "step", None)
    compiled.step()


@pytest.mark.parametrize("name", ["Adam", "ClippedAdam", "RMSprop"])
def test_a_learning_rate_that_the_user_changes_is_followed(name):
    def change(svi):
        for optimizer in svi.optim.optim_objs.values():
            optimizer.param_groups[0]["lr"] = 0.5

    make = {**INSIDE, **OUTSIDE}[name]
    plain = exact_svi(make())
    for i in range(8):
        if i == 4:
            change(plain)
        plain.step()
    want = parameters()
    svi = exact_svi(make())
    compiled = pg.compile(svi)
    for i in range(8):
        if i == 4:
            change(svi)
        compiled.step()
    assert_same(parameters(), want)


@pytest.mark.parametrize("name", INSIDE)
def test_plain_steps_and_steps_for_other_shapes_go_on_from_one_another(name):
    from tests.compiled.programs import DATA, mixture_model, svi

    def guide(data=DATA):
        logit = pyro.param("logit", torch.tensor(0.0))
        with pyro.plate("data", len(data)):
            pyro.sample("z", pyro.distributions.Bernoulli(logits=logit))

    batches = [DATA, DATA[:3], DATA, DATA[:3], DATA, DATA, DATA[:3], DATA[:3]]
    plain = svi(mixture_model, guide, INSIDE[name](), estimators="enumerate")
    for batch in batches:
        plain.step(batch)
    want = parameters()
    mixed = svi(mixture_model, guide, INSIDE[name](), estimators="enumerate")
    compiled = pg.compile(mixed)
    for i, batch in enumerate(batches):
        (mixed if i in (3, 4) else compiled).step(batch)
    assert_same(parameters(), want)


def test_plain_svi_goes_on_where_compiled_steps_end_and_back():
    plain = exact_svi()
    for _ in range(15):
        plain.step()
    want = parameters()
    svi = exact_svi()
    compiled = pg.compile(svi)
    for _ in range(5):
        compiled.step()
    for _ in range(5):
        svi.step()
    for _ in range(5):
        compiled.step()
    assert_same(parameters(), want)


@pytest.mark.parametrize("validated", [True, False])
def test_the_loss_is_that_of_the_parameters_before_the_step(validated):
    """Its gradient is 1, so that nothing but the value reads the parameter."""

    def model():
        pyro.sample("z", dist.Normal(0.0, 1.0).mask(False))

    def guide():
        w = pyro.param("w", torch.tensor(2.0))
        pyro.sample("z", dist.Normal(0.0, 1.0).mask(False))
        pyro.factor("cost", w, has_rsample=True)

    compiled = pg.compile(
        SVI(model, guide, pyro.optim.SGD({"lr": 0.25}), pg.ELBO(num_particles=2))
    )
    with pyro.validation_enabled(validated):
        losses = compiled.run(3, progress=False)
    assert losses.tolist() == [2.0, 1.75, 1.5]


class _Shrinks(torch.optim.Optimizer):
    """Writes into the gradient that it is given, as clipping does."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.5})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for param in group["params"]:
                param.grad.mul_(0.5)
                param.sub_(param.grad, alpha=group["lr"])


def test_an_optimizer_may_write_into_equal_gradients():
    def model():
        pyro.sample("z", dist.Bernoulli(0.3))

    def guide():
        one, other = (pyro.param(n, torch.tensor(0.4)) for n in ("one", "other"))
        pyro.sample("z", dist.Bernoulli(logits=one + other))

    found = []
    for compiled in (False, True):
        pyro.clear_param_store()
        optim = pyro.optim.PyroOptim(_Shrinks, {})
        svi = SVI(model, guide, optim, pg.ELBO(estimators="enumerate"))
        taker = pg.compile(svi) if compiled else svi
        for _ in range(3):
            taker.step()
        found.append(parameters())
    assert_same(found[1], found[0])
