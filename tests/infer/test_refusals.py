"""What Trace_ELBO refuses or warns of is refused or warned of here."""

import re
import warnings

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.distributions.testing.rejection_gamma import ShapeAugmentedGamma
from pyro.infer import Trace_ELBO, config_enumerate

import pgplugins as pg
from tests.infer.same import ours


def param(name="loc", value=0.3):
    return pyro.param(name, torch.tensor(value))


def outcome(elbo, model, guide):
    """The error and the warnings of one step."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            elbo.loss_and_grads(model, guide)
            error = None
        except Exception as raised:
            error = (type(raised), str(raised).split("\n")[0])
    return error, sorted((w.category, str(w.message)) for w in caught)


def normal(name, *shape, event=0):
    value = torch.zeros(shape)
    return lambda: pyro.sample(name, dist.Normal(value + param(), 1.0).to_event(event))


def both(*programs):
    def program():
        for part in programs:
            part()

    return program


def plated(name, size, *programs, **options):
    def program():
        with pyro.plate(name, size, **options):
            both(*programs)()

    return program


def twice():
    pyro.sample("z", dist.Normal(param(), 1.0))
    pyro.sample("z", dist.Normal(param(), 1.0))


def colliding():
    with pyro.plate("a", 2, dim=-1), pyro.plate("b", 3, dim=-1):
        pyro.sample("z", dist.Normal(param(), 1.0))


def missing(name):
    def program():
        pyro.sample(name, dist.Normal(param(), 1.0), infer={"is_auxiliary": True})

    return program


MISMATCHES = {
    "a site of the model only": (both(normal("z"), normal("y")), normal("z")),
    "a site of the guide only": (normal("z"), both(normal("z"), normal("y"))),
    "an auxiliary site in the model": (
        normal("z"),
        lambda: pyro.sample(
            "z", dist.Normal(param(), 1.0), infer={"is_auxiliary": True}
        ),
    ),
    "shapes": (normal("z", 2, event=1), normal("z", 3, event=1)),
    "sizes of a plate": (
        plated("a", 2, normal("z", 2)),
        plated("a", 3, normal("z", 3), dim=-1),
    ),
    "event dimensions": (normal("z", 3, event=1), normal("z", 3)),
    "no plate": (normal("z", 3), normal("z", 3)),
    "a plate of the guide only": (
        normal("z"),
        both(normal("z"), plated("p", 3, lambda: None, subsample_size=2)),
    ),
    "the same name twice": (normal("z"), twice),
    "plates that collide": (colliding, colliding),
    "a wrong batch inside a plate": (
        plated("a", 2, normal("z", 3)),
        plated("a", 2, normal("z", 3)),
    ),
    "a value outside the support": (
        lambda: pyro.sample("z", dist.LogNormal(0.0, 1.0)),
        lambda: pyro.sample("z", dist.Delta(param(value=-0.5))),
    ),
    "a wrong parameter": (
        normal("z"),
        lambda: pyro.sample("z", dist.Normal(param(), -1.0)),
    ),
}


@pytest.mark.parametrize("name", MISMATCHES)
@pytest.mark.parametrize("particles", [{}, {"num_particles": 2}], ids=["one", "two"])
def test_as_in_trace_elbo(name, particles):
    model, guide = MISMATCHES[name]
    theirs = outcome(Trace_ELBO(**particles), model, guide)
    assert theirs != (None, []), "Trace_ELBO has nothing against it"
    (error, warned), (their_error, they_warned) = (
        outcome(ours(**particles), model, guide),
        theirs,
    )
    assert warned == they_warned
    if their_error is None:
        assert error is None
        return
    assert error is not None and issubclass(error[0], their_error[0])
    # Where a density is what fails, Pyro's message names the function that asked.
    mine, yours = (
        re.sub(r"Error while computing .* at site", "", e[1])
        for e in (error, their_error)
    )
    assert mine.startswith(yours)


def test_too_few_plates_promised():
    model = guide = plated("a", 2, plated("b", 3, normal("z")))
    arguments = {
        "num_particles": 2,
        "vectorize_particles": True,
        "max_plate_nesting": 1,
    }
    theirs = outcome(Trace_ELBO(**arguments), model, guide)
    mine = outcome(ours(**arguments), model, guide)
    assert theirs[0] is not None and mine[0] == theirs[0]


def coin():
    pyro.sample("c", dist.Bernoulli(logits=param()))


@pytest.mark.parametrize("default", ["parallel", "sequential"])
def test_enumeration_in_pyros_way_is_warned_of(default):
    guide = config_enumerate(coin, default=default)
    _, theirs = outcome(Trace_ELBO(), coin, guide)
    _, mine = outcome(pg.ELBO(), coin, guide)
    assert len(theirs) == len(mine) == 1
    ((category, message),) = mine
    assert category is pg.PgpluginsWarning
    assert "['c']" in message and '"estimator": "enumerate"' in message


def test_a_missing_enumeration_is_warned_of():
    def model():
        coin()
        pyro.sample("k", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})

    mine, theirs = (outcome(e, model, coin) for e in (ours(), Trace_ELBO()))
    assert mine[1] == theirs[1]
    assert "model but not guide: {'k'}" in mine[1][0][1]


def test_sequential_enumeration_of_the_model_is_refused():
    def model():
        coin()
        pyro.sample("k", dist.Bernoulli(0.3), infer={"enumerate": "sequential"})

    mine, theirs = (outcome(e, model, coin)[0] for e in (ours(), Trace_ELBO()))
    assert mine == theirs and mine[0] is NotImplementedError


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite(value):
    def model():
        pyro.sample("z", dist.Normal(0.0, 1.0))
        zero = torch.tensor(0.0)
        density = dist.Delta(zero, torch.tensor(value), validate_args=False)
        pyro.sample("f", density, obs=zero)

    guide = normal("z")
    with pytest.raises(pg.PgpluginsError, match=r"'f' is (nan|infinite)"):
        ours().loss_and_grads(model, guide)
    assert param().grad is None
    for elbo in (Trace_ELBO(), ours()):
        with pyro.validation_enabled(False), warnings.catch_warnings(record=True) as c:
            warnings.simplefilter("always")
            for loss in (
                elbo.loss(model, guide),
                elbo.loss_and_grads(model, guide),
                elbo.differentiable_loss(model, guide).item(),
            ):
                assert loss == -value or loss != loss
        nan = value != value
        assert len([w for w in c if "NaN: loss" in str(w.message)]) == 3 * nan


def test_a_baseline_in_tracegraph_elbos_way_is_refused():
    def guide():
        infer = {"baseline": {"use_decaying_avg_baseline": True}}
        pyro.sample("c", dist.Bernoulli(logits=param()), infer=infer)

    with pytest.raises(pg.PgpluginsError, match=r"'c'.*baseline=\"moving_average\""):
        pg.ELBO().loss_and_grads(coin, guide)


def test_a_partly_reparameterized_distribution_is_refused():
    """Trace_ELBO serves it by its own ``score_parts``; its path alone is biased."""

    def guide():
        pyro.sample("z", ShapeAugmentedGamma(param(value=1.3), torch.tensor(0.9)))

    def model():
        pyro.sample("z", dist.Gamma(2.0, 1.0))

    with pytest.raises(pg.PgpluginsError, match=r"'z'.*only in part.*score_function"):
        pg.ELBO().loss_and_grads(model, guide)


def test_a_distribution_that_is_none_of_torchs_is_refused():
    class Own(pyro.distributions.Distribution):
        def sample(self):
            return torch.tensor(1.0)

        def log_prob(self, value):
            return param() * value

    with pytest.raises(pg.PgpluginsError, match="'c' draws from a Own"):
        pg.ELBO().loss_and_grads(coin, lambda: pyro.sample("c", Own()))


def test_a_sample_shape_is_refused():
    def guide():
        pyro.sample("z", dist.Normal(param(), 1.0), torch.Size([3]))

    with pytest.raises(pg.PgpluginsError, match=r"'z' passes arguments.*expand"):
        pg.ELBO().loss_and_grads(normal("z"), guide)


def test_every_misfit_is_listed():
    def program():
        pyro.sample("c", dist.Bernoulli(logits=param()))
        with pyro.plate("a", 2):
            pyro.sample("k", dist.Poisson(param("rate", 2.0)))
            pyro.sample("z", dist.Normal(param(), 1.0))

    with pytest.raises(pg.PgpluginsError) as raised:
        pg.ELBO(estimators="reparameterized").loss_and_grads(program, program)
    message = str(raised.value)
    assert "'c'" in message and "'k'" in message and "'z'" not in message
    with pytest.raises(pg.PgpluginsError) as raised:
        pg.ELBO(estimators="enumerate").loss_and_grads(program, program)
    message = str(raised.value)
    assert "'c'" not in message and "'k'" in message and "'z'" in message


def test_a_name_that_no_site_has_is_refused():
    elbo = pg.ELBO(estimators={"cc": "enumerate"})
    with pytest.raises(pg.PgpluginsError, match=r"'cc'.*Did you mean 'c'"):
        elbo.loss_and_grads(coin, coin)


def test_conditioning_the_guide_on_what_the_model_samples():
    data = {"z": torch.tensor(0.4)}
    model, guide = normal("z"), poutine.condition(normal("z"), data)
    theirs = outcome(Trace_ELBO(), model, guide)
    assert theirs[0] is not None
    error, _ = outcome(ours(), model, guide)
    assert error is not None and issubclass(error[0], theirs[0][0])
    assert issubclass(error[0], pg.PgpluginsError) and "'z'" in error[1]
