"""Pyro's effect handlers, in model and guide and around the objective."""

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.distributions.testing.fakes import NonreparameterizedNormal
from pyro.infer import Trace_ELBO
from pyro.infer.reparam import LocScaleReparam

import pgplugins as pg
from tests.infer.same import assert_like_trace_elbo, assert_same, gradients, ours
from tests.infer.scripted import Coin, exact, moments

SCORED = pytest.mark.parametrize(
    "normal", [dist.Normal, NonreparameterizedNormal], ids=["path", "score"]
)


def model():
    m = pyro.sample("m", dist.Normal(0.0, pyro.param("prior", torch.tensor(1.5))))
    k = pyro.sample("k", dist.Normal(m, 1.0))
    pyro.sample("x", dist.Normal(m + k, 1.0), obs=torch.tensor(0.7))


def guide_of(normal):
    def guide():
        scale = pyro.param("scale", torch.tensor(0.7))
        m = pyro.sample("m", normal(pyro.param("loc", torch.tensor(0.3)), scale))
        pyro.sample("k", normal(m + pyro.param("shift", torch.tensor(0.2)), 1.0))

    return guide


HALF = {"k": torch.tensor(0.5)}


@SCORED
@pytest.mark.parametrize(
    ("on_model", "on_guide"),
    [
        (lambda m: poutine.condition(m, HALF), lambda g: poutine.block(g, hide=["k"])),
        (lambda m: poutine.do(m, HALF), lambda g: poutine.do(g, HALF)),
        (lambda m: m, lambda g: poutine.block(g, hide_types=["param"])),
        (lambda m: m, lambda g: poutine.infer_config(g, lambda site: {"note": 1})),
        (lambda m: poutine.seed(m, 3), lambda g: poutine.seed(g, 4)),
        (
            lambda m: m,
            lambda g: poutine.substitute(g, {"loc": torch.tensor(1.0)}),
        ),
    ],
    ids=["condition", "do", "block", "infer_config", "seed", "substitute"],
)
def test_around_model_and_guide(normal, on_model, on_guide):
    assert_like_trace_elbo(on_model(model), on_guide(guide_of(normal)))


@SCORED
def test_reparam_in_the_model(normal):
    def guide():
        pyro.sample("m", normal(pyro.param("loc", torch.tensor(0.3)), 0.7))
        pyro.sample("k_decentered", normal(pyro.param("d", torch.tensor(0.1)), 0.8))

    decentered = poutine.reparam(model, {"k": LocScaleReparam(0.5)})
    assert_like_trace_elbo(decentered, guide)


@SCORED
def test_uncondition_in_the_model(normal):
    def guide():
        guide_of(normal)()
        pyro.sample("x", normal(pyro.param("guess", torch.tensor(0.4)), 0.8))

    assert_like_trace_elbo(poutine.uncondition(model), guide)


@SCORED
def test_lift_in_the_model(normal):
    def guide():
        guide_of(normal)()
        base = normal(pyro.param("width", torch.tensor(0.1)), 0.3)
        transforms = [dist.transforms.ExpTransform()]
        pyro.sample("prior", dist.TransformedDistribution(base, transforms))

    lifted = poutine.lift(model, {"prior": dist.Exponential(1.0)})
    assert_like_trace_elbo(lifted, guide)


@SCORED
def test_replayed_values_of_a_guide_are_its_draws(normal):
    pyro.set_rng_seed(5)
    with torch.no_grad():
        recorded = poutine.trace(guide_of(normal)).get_trace()
    assert_like_trace_elbo(model, poutine.replay(guide_of(normal), trace=recorded))


def test_replayed_values_are_refused_where_the_estimator_has_to_draw():
    with torch.no_grad():
        recorded = poutine.trace(guide_of(dist.Normal)).get_trace()
    replayed = poutine.replay(guide_of(dist.Normal), trace=recorded)
    with pytest.raises(pg.PgpluginsError, match=r"'m' was set .* 'hybrid' has to draw"):
        pg.ELBO(estimators="hybrid").loss_and_grads(model, replayed)


@SCORED
@pytest.mark.parametrize(
    "around",
    [
        lambda: poutine.scale(scale=0.3),
        lambda: poutine.block(),
        lambda: poutine.infer_config(config_fn=lambda site: {"note": 1}),
        lambda: poutine.seed(rng_seed=3),
        lambda: poutine.substitute(data={"shift": torch.tensor(0.1)}),
        lambda: poutine.trace(param_only=True),
        lambda: poutine.scale(scale=torch.tensor(2.0)),
    ],
    ids=["scale", "block", "config", "seed", "substitute", "params", "tensor scale"],
)
def test_around_the_objective(normal, around):
    def run(elbo):
        pyro.clear_param_store()
        pyro.set_rng_seed(1)
        with around():
            loss = elbo.loss_and_grads(model, guide_of(normal))
        return loss, gradients()

    assert_same(run(ours()), run(Trace_ELBO()))


@SCORED
def test_a_sequential_plate_around_the_objective(normal):
    def run(elbo):
        pyro.clear_param_store()
        pyro.set_rng_seed(1)
        loss = 0.0
        for _ in pyro.plate("epochs", 4, subsample_size=2):
            loss += elbo.loss_and_grads(model, guide_of(normal))
        return loss, gradients()

    assert_same(run(ours()), run(Trace_ELBO()))


@SCORED
@pytest.mark.parametrize(
    ("around", "what"),
    [
        (lambda: poutine.condition(data=HALF), r"'k' .* sets its value"),
        (lambda: pyro.plate("replicates", 3), r"'m' .* puts it into a plate"),
    ],
    ids=["condition", "plate"],
)
def test_what_would_change_a_draw_afterwards_is_refused(normal, around, what):
    with pytest.raises(pg.PgpluginsError, match=what), around():
        ours().loss_and_grads(model, guide_of(normal))


def test_an_objective_inside_a_program_of_another():
    """The inner objective sees its own sites only, and the outer one only its own."""
    inner = ours()

    def quiet():
        pyro.sample("c", Coin(logits=pyro.param("p", torch.tensor(0.4))))

    def model():
        c = pyro.sample("c", dist.Bernoulli(0.3))
        pyro.sample("x", dist.Normal(3 * c, 1.0), obs=torch.tensor(2.5))

    def nosy():
        with poutine.block():
            inner.loss(lambda: pyro.sample("y", dist.Normal(0, 1)), noisy)
        quiet()

    def noisy():
        pyro.sample("y", dist.Normal(1.0, 1.0))

    quiet()
    found = moments(ours(dependencies="provenance"), model, nosy)
    torch.testing.assert_close(found.mean, exact(model, quiet)[0])


def test_a_conditioned_guide_has_the_gradient_of_its_loss():
    # Trace_ELBO scores the value that was not drawn, and leaves its density out of the
    # cost of the sites that it depends on.
    def model():
        c = pyro.sample("c", dist.Bernoulli(0.3))
        d = pyro.sample("d", dist.Bernoulli(0.2 + 0.5 * c))
        pyro.sample("x", dist.Normal(c + d, 1.0), obs=torch.tensor(1.5))

    def guide():
        p, q = (pyro.param(n, torch.tensor(v)) for n, v in (("p", 0.4), ("q", 0.9)))
        c = pyro.sample("c", Coin(logits=p))
        pyro.sample("d", Coin(logits=q * (c - 0.3)))

    data = {"d": torch.tensor(1.0)}
    conditioned = poutine.condition(guide, data)
    guide()
    observed = poutine.condition(model, data)
    gradient, loss = exact(observed, conditioned)
    for dependencies in ("provenance", "plates"):
        found = moments(ours(dependencies=dependencies), observed, conditioned)
        torch.testing.assert_close(found.mean, gradient, rtol=1e-9, atol=1e-9)
        assert abs(found.loss - loss) < 1e-9
