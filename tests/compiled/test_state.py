"""What a compiled step reads and writes, and when it is compiled anew."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pgplugins as pg
from pgplugins.errors import CompileError, CompileWarning, NotFiniteError
from tests.compiled.programs import (
    DATA,
    exact_svi,
    mixture_guide,
    mixture_model,
    normal_guide,
    normal_model,
    parameters,
    svi,
)

SCALE = 1.0


def test_the_seed_decides_the_noise_and_steps_differ():
    def losses(seed):
        pyro.set_rng_seed(0)
        compiled = pg.compile(svi(normal_model, normal_guide))
        compiled.step()
        pyro.set_rng_seed(seed)
        return [compiled.step() for _ in range(5)]

    once = losses(3)
    assert losses(3) == once
    assert losses(4) != once
    assert len(set(once)) == 5


@pytest.mark.parametrize("vectorized", [True, False])
def test_a_run_is_the_same_however_it_is_split(vectorized):
    def trained(*parts):
        pyro.set_rng_seed(0)
        settings = {"num_particles": 3, "vectorize_particles": vectorized}
        compiled = pg.compile(svi(normal_model, normal_guide, **settings))
        losses = [compiled.run(n, progress=False) for n in parts]
        return torch.cat(losses), parameters()

    losses, params = trained(40)
    for parts in [(7, 33), (1,) * 40]:
        again, others = trained(*parts)
        assert torch.equal(again, losses)
        assert others == params


def test_noise_of_two_kinds_is_the_same_however_a_run_is_split():
    def model():
        pyro.sample("z", dist.Bernoulli(0.3))
        pyro.sample("w", dist.Normal(0.0, 1.0))

    def guide():
        pyro.sample("z", dist.Bernoulli(logits=pyro.param("l", torch.tensor(0.0))))
        pyro.sample("w", dist.Normal(pyro.param("m", torch.tensor(1.0)), 1.0))

    def trained(*parts):
        pyro.set_rng_seed(0)
        compiled = pg.compile(svi(model, guide))
        return torch.cat([compiled.run(n, progress=False) for n in parts])

    assert torch.equal(trained(20), trained(3, 17))


def test_a_checkpoint_resumes_exactly():
    moving = pg.estimator("score_function", baseline="moving_average")

    def start():
        inference = svi(mixture_model, mixture_guide, estimators=moving)
        compiled = pg.compile(inference)
        compiled.run(3, progress=False)
        return inference, compiled

    inference, compiled = start()
    saved = _copied(
        (
            compiled.elbo.state_dict(),
            [p.detach() for p in pyro.get_param_store()._params.values()],
            [o.state_dict() for o in inference.optim.optim_objs.values()],
            torch.get_rng_state(),
        )
    )
    want = compiled.run(10, progress=False), parameters()

    pyro.set_rng_seed(5)
    inference, compiled = start()
    state, params, optimizers, rng = saved
    compiled.elbo.load_state_dict(state)
    for param, value in zip(
        pyro.get_param_store()._params.values(), params, strict=True
    ):
        param.data.copy_(value)
    for optimizer, state in zip(
        inference.optim.optim_objs.values(), optimizers, strict=True
    ):
        optimizer.load_state_dict(state)
    torch.set_rng_state(rng)
    assert torch.equal(compiled.run(10, progress=False), want[0])
    assert torch.equal(parameters()["logits"], want[1]["logits"])


def _copied(value):
    import copy

    return copy.deepcopy(value)


def test_parameters_that_are_replaced_are_found():
    compiled = pg.compile(exact_svi())
    for _ in range(3):
        compiled.step()
    pyro.get_param_store()["logits"] = torch.full((4,), 5.0)
    before = compiled.step()
    pyro.clear_param_store()
    pyro.param("logits", torch.full((4,), 5.0))
    assert pg.ELBO(estimators="enumerate").loss(
        mixture_model, mixture_guide
    ) == pytest.approx(before, rel=1e-5)


def test_parameters_that_are_changed_in_place_are_seen():
    compiled = pg.compile(exact_svi())
    start = compiled.step()
    for _ in range(20):
        later = compiled.step()
    assert later < start - 0.1
    pyro.param("logits").data.zero_()
    assert compiled.step() == pytest.approx(start, rel=1e-5)


def test_tensors_around_the_program_are_read_at_every_step():
    data = DATA.clone()

    def model():
        mixture_model(data)

    def guide():
        mixture_guide(data)

    compiled = pg.compile(svi(model, guide, estimators="enumerate"))
    for _ in range(3):
        compiled.step()
    data += 5.0
    want = pg.ELBO(estimators="enumerate").loss(model, guide)
    assert compiled.step() == pytest.approx(want, rel=1e-5)
    data = data - 2.0  # another tensor under the same name
    want = pg.ELBO(estimators="enumerate").loss(model, guide)
    assert compiled.step() == pytest.approx(want, rel=1e-5)


def test_numbers_around_the_program_are_noticed(monkeypatch):
    def model():
        with pyro.poutine.scale(scale=SCALE):
            mixture_model()

    compiled = pg.compile(svi(model, mixture_guide, estimators="enumerate"))
    for _ in range(3):
        compiled.step()
    monkeypatch.setitem(globals(), "SCALE", 4.0)
    want = pg.ELBO(estimators="enumerate").loss(model, mixture_guide)
    assert compiled.step() == pytest.approx(want, rel=1e-5)
    assert compiled.step() < want


def test_arguments_of_one_shape_share_a_graph_and_others_get_their_own():
    def model(batch, *, weight=1.0):
        with pyro.poutine.scale(scale=weight):
            mixture_model(batch["x"])

    def guide(batch, *, weight=1.0):
        logits = pyro.param("logit", torch.tensor(0.0))
        with pyro.plate("data", len(batch["x"])):
            pyro.sample("z", dist.Bernoulli(logits=logits))

    rule = pyro.optim.SGD({"lr": 0.0})
    compiled = pg.compile(svi(model, guide, rule, estimators="enumerate"))
    elbo = pg.ELBO(estimators="enumerate")
    calls = [
        ({"x": DATA}, {}),
        ({"x": DATA + 1}, {}),
        ({"x": DATA[:3]}, {}),
        ({"x": DATA}, {"weight": 2.0}),
        ({"x": DATA}, {"weight": torch.tensor(2.0)}),
        ({"x": DATA}, {"weight": torch.tensor(3.0)}),
    ]
    for _ in range(2):
        for batch, extra in calls:
            want = elbo.loss(model, guide, batch, **extra)
            assert compiled.step(batch, **extra) == pytest.approx(want, rel=1e-5)
    assert len(compiled._known) == 4


def test_many_graphs_are_worth_a_word():
    compiled = pg.compile(svi(lambda n: normal_model(), lambda n: normal_guide()))
    with pytest.warns(CompileWarning, match=r"8 graphs.*torch.tensor\(beta\)"):
        for n in range(8):
            compiled.step(n)


def test_buffers_of_modules_follow():
    net = nn.BatchNorm1d(1, affine=False)

    def model():
        x = net(DATA.unsqueeze(-1)).sum()
        pyro.sample("z", dist.Normal(x, 1.0))

    def run(steps, make):
        net.reset_running_stats()
        inference = svi(model, normal_guide)
        step = make(inference)
        for _ in range(steps):
            step()
        return net.running_mean.clone(), int(net.num_batches_tracked)

    mean, count = run(6, lambda s: pg.compile(s).step)
    want, expected = run(6, lambda s: s.step)
    torch.testing.assert_close(mean, want)
    assert count == expected


def test_a_module_that_is_switched_to_evaluation_is_noticed():
    net = nn.Dropout(0.5)

    def model():
        pyro.sample("z", dist.Normal(net(torch.ones(50)).sum(), 1.0))

    compiled = pg.compile(svi(model, normal_guide, pyro.optim.SGD({"lr": 0.0})))
    for _ in range(3):
        compiled.step()
    net.eval()
    compiled.step()
    losses = [compiled.step() for _ in range(2000)]
    exact = 0.5 * (2.0**2 + 50.0**2) - 0.5 - torch.tensor(2.0).log().item()
    assert sum(losses) / 2000 == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("many", [False, True])
def test_a_loss_that_is_not_finite_changes_nothing(many):
    bad = torch.tensor(0.0)

    def model():
        z = pyro.sample("z", dist.Normal(3.0, 1.0))
        pyro.factor("f", -(z + torch.log(1.0 - bad)))

    inference = svi(model, normal_guide)
    compiled = pg.compile(inference)
    compiled.run(5, progress=False)
    before = parameters(), _copied(inference.optim.get_state())
    bad.fill_(2.0)
    with pytest.raises(NotFiniteError, match=r"nan.*no parameter has changed.*Unit"):
        compiled.run(5, progress=False) if many else compiled.step()
    assert parameters() == before[0]
    state = inference.optim.get_state()
    for name in ("loc", "scale"):
        for key, value in before[1][name]["state"][0].items():
            assert torch.equal(state[name]["state"][0][key], value)
    bad.fill_(0.0)
    compiled.step()


def test_an_objective_of_pyro_is_refused_by_name():
    plain = pyro.infer.SVI(
        normal_model, normal_guide, pyro.optim.Adam({}), pyro.infer.Trace_ELBO()
    )
    with pytest.raises(TypeError, match=r"Trace_ELBO.*Write loss=pg\.ELBO\(\)"):
        pg.compile(plain)


def test_something_else_is_refused():
    with pytest.raises(TypeError, match=r"pyro\.infer\.SVI.*found a int"):
        pg.compile(3)


def test_steps_have_to_be_a_number():
    compiled = pg.compile(exact_svi())
    with pytest.raises(ValueError, match="steps"):
        compiled.run(0)


def test_what_changes_from_call_to_call_is_refused():
    count = [0]

    def model():
        count[0] += 1
        pyro.sample("z", dist.Normal(float(count[0]), 1.0))

    with pytest.raises(CompileError, match="something else at every call"):
        pg.compile(svi(model, normal_guide)).step()


def test_noise_that_is_not_torchs_is_refused():
    import random

    def model():
        pyro.sample("z", dist.Normal(random.random(), 1.0))

    with pytest.raises(CompileError, match="something else at every call"):
        pg.compile(svi(model, normal_guide)).step()


def test_distributions_made_beforehand_may_check_their_values():
    prior = dist.Gamma(2.0, 2.0, validate_args=True)

    def model():
        pyro.sample("z", prior)

    def guide():
        rate = pyro.param("rate", torch.tensor(1.0), constraint=prior.support)
        pyro.sample("z", dist.Gamma(2.0, rate))

    rule = pyro.optim.Adam({"lr": 0.05})
    settings = {"num_particles": 50, "vectorize_particles": True}
    pg.compile(svi(model, guide, rule, **settings)).run(200, progress=False)
    assert pyro.param("rate").item() == pytest.approx(2.0, abs=0.3)


def plain_value(model, guide, *args):
    """The loss now, which has no noise."""
    return pg.ELBO(estimators="enumerate").loss(model, guide, *args)


def points_model(batch):
    mixture_model(batch["x"])


def points_guide(batch):
    logits = pyro.param("logit", torch.tensor(0.0))
    with pyro.plate("data", len(batch["x"])):
        pyro.sample("z", dist.Bernoulli(logits=logits))


def still(model, guide):
    """A compiled inference that stays where it is, without noise."""
    rule = pyro.optim.SGD({"lr": 0.0})
    return pg.compile(svi(model, guide, rule, estimators="enumerate"))


def test_what_changes_inside_of_an_argument_is_used():
    batch = {"x": DATA}
    compiled = still(points_model, points_guide)
    compiled.step(batch)
    for x in (DATA + 2.0, DATA[:2]):
        batch["x"] = x
        want = plain_value(points_model, points_guide, batch)
        assert compiled.step(batch) == pytest.approx(want, rel=1e-5)


def test_a_tensor_that_is_passed_twice_is_two_arguments():
    def model(a, b):
        pyro.factor("f", -((a - b) ** 2).sum())
        pyro.sample("z", dist.Bernoulli(0.3))

    def guide(a, b):
        pyro.sample("z", dist.Bernoulli(logits=pyro.param("l", torch.tensor(0.0))))

    compiled = still(model, guide)
    x, y = torch.zeros(2), torch.ones(2)
    compiled.step(x, x)
    want = plain_value(model, guide, x, y)
    assert compiled.step(x, y) == pytest.approx(want, rel=1e-5)


def test_batches_from_an_iterator_are_refused():
    batches = iter(torch.arange(20.0).unbind())

    def model():
        pyro.sample("z", dist.Normal(next(batches), 1.0))

    with pytest.raises(CompileError, match="something else at every call"):
        pg.compile(svi(model, normal_guide)).step()


def test_a_parameter_that_is_frozen_stays():
    inference = svi(normal_model, normal_guide)
    compiled = pg.compile(inference)
    for _ in range(3):
        compiled.step()
    pyro.param("loc").unconstrained().requires_grad_(False)
    before = parameters()
    for _ in range(3):
        compiled.step()
    assert parameters()["loc"] == before["loc"]
    assert parameters()["scale"] != before["scale"]


def test_settings_of_optimizer_and_objective_are_followed():
    inference = exact_svi()
    compiled = pg.compile(inference)
    compiled.step()
    (optimizer,) = inference.optim.optim_objs.values()
    optimizer.param_groups[0]["betas"] = (0.0, 0.0)
    optimizer.state.clear()
    before = parameters()["logits"]
    compiled.step()
    moved = (parameters()["logits"] - before).abs()
    torch.testing.assert_close(moved, torch.full((4,), 0.05), rtol=1e-3, atol=1e-5)
    assert len(optimizer.state) == 1
    inference.optim = pyro.optim.SGD({"lr": 0.0})
    before = parameters()["logits"]
    compiled.step()
    assert torch.equal(parameters()["logits"], before)


def test_a_global_module_and_what_a_class_reads_are_noticed(monkeypatch):
    class Model:
        def __call__(self):
            with pyro.poutine.scale(scale=SCALE):
                mixture_model()

    compiled = still(Model(), mixture_guide)
    compiled.step()
    monkeypatch.setitem(globals(), "SCALE", 4.0)
    want = plain_value(Model(), mixture_guide)
    assert compiled.step() == pytest.approx(want, rel=1e-5)


def test_a_run_stops_at_the_first_loss_that_is_not_finite():
    def model():
        z = pyro.sample("z", dist.Normal(3.0, 1.0))
        u = torch.rand(())
        pyro.factor("f", torch.where(u < 0.02, torch.nan, 0.0) + 0 * z)

    def end(many):
        pyro.set_rng_seed(0)
        with pyro.validation_enabled(False):
            compiled = pg.compile(svi(model, normal_guide))
            compiled.step()
        pyro.set_rng_seed(1)
        compiled._known.clear()
        with pytest.raises(NotFiniteError):
            while True:
                compiled.run(100, progress=False) if many else compiled.step()
        return parameters()

    assert end(True) == end(False)


def test_noise_that_only_torch_draws_is_the_same_however_a_run_is_split():
    def model():
        pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("g", dist.Gamma(2.0, 2.0))

    def guide():
        pyro.sample("z", dist.Normal(pyro.param("m", torch.tensor(1.0)), 1.0))
        rate = pyro.param("r", torch.tensor(1.0), constraint=dist.constraints.positive)
        pyro.sample("g", dist.Gamma(2.0, rate))

    def trained(*parts):
        pyro.set_rng_seed(0)
        compiled = pg.compile(svi(model, guide))
        return torch.cat([compiled.run(n, progress=False) for n in parts])

    assert torch.equal(trained(12), trained(5, 7))
