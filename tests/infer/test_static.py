"""Dependencies that are found once: the same gradients, also when the shape changes."""

from dataclasses import dataclass
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from pgplugins.infer.static import program_key


def model(data):
    with pyro.plate("N", len(data)):
        z = pyro.sample("z", dist.Bernoulli(torch.full((len(data),), 0.4)))
        pyro.sample("x", dist.Normal(2 * z, 1.0), obs=data)
    pyro.sample("w", dist.Bernoulli(0.3))


def guide(data):
    logit = pyro.param("logit", torch.tensor(0.2))
    with pyro.plate("N", len(data)):
        pyro.sample("z", dist.Bernoulli(logits=logit.expand(len(data))))
    pyro.sample("w", dist.Bernoulli(logits=pyro.param("w_logit", torch.tensor(-0.4))))


def gradient(elbo, data, seed):
    pyro.set_rng_seed(seed)
    pyro.get_param_store().clear()
    elbo.loss_and_grads(model, guide, data)
    store = pyro.get_param_store()
    return torch.stack(
        [store[name].unconstrained().grad for name in ("logit", "w_logit")]
    )


def test_a_new_shape_is_met_without_running_twice():
    """Its first run counts everything as downstream, from then on as without static."""
    runs = []
    static = pg.ELBO(estimators="score_function", static=True)
    sound = pg.ELBO(estimators="score_function")
    plates = pg.ELBO(estimators="score_function", dependencies="plates")
    whole, part = torch.tensor([0.3, 1.9, 2.2]), torch.tensor([1.7, -0.4])
    expected = [sound, sound, plates, sound, sound, sound]
    for seed, (data, like) in enumerate(
        zip([whole, whole, part, part, part, whole], expected, strict=True)
    ):
        found = gradient(static, data, seed)
        torch.testing.assert_close(found, gradient(like, data, seed))
        runs.append((gradient(plates, data, seed) - gradient(sound, data, seed)).norm())
    assert min(runs) > 0.01, "the two ways differ, so the comparison tells them apart"


class Coins:
    """A program whose cost depends on the coin that the instance names."""

    def __init__(self, counted):
        self.counted = counted

    def run(self, counted=None):
        coins = [
            pyro.sample(
                name,
                dist.Bernoulli(logits=pyro.param(f"{name}_logit", torch.zeros(()))),
            )
            for name in ("a", "b")
        ]
        pg.cost("reward", 3 * coins[self.counted if counted is None else counted])

    __call__ = run


@dataclass
class WithoutHash(Coins):
    """Compared by value and mutable, so that Python gives it no hash."""

    counted: int


def bound_methods():
    return Coins(0).run, Coins(1).run


def defaults():
    return [lambda counted=i: Coins(0).run(counted) for i in range(2)]


def keyword_defaults():
    return [lambda *, counted=i: Coins(0).run(counted) for i in range(2)]


def closures_over_methods():
    return [(lambda run: lambda: run())(Coins(i).run) for i in range(2)]


def closures_over_instances():
    return [(lambda program: lambda: program())(Coins(i)) for i in range(2)]


def closures_over_partial_functions():
    run = Coins(0).run
    return [(lambda program: lambda: program())(partial(run, i)) for i in range(2)]


def closures_over_tuples():
    return [(lambda which: lambda: Coins(which[0]).run())((i,)) for i in range(2)]


def closures_over_settings():
    class Settings:
        def __init__(self, which):
            self.which = which

    def program(settings):
        return lambda: Coins(settings.which).run()

    return [program(Settings(i)) for i in range(2)]


def closures_that_hold_a_number_in_another_place():
    def program(first, second):
        return lambda: Coins(0).run(0 if second is None else first or 1)

    return program(1, None), program(None, 1)


def instances():
    return Coins(0), Coins(1)


def instances_without_hash():
    return WithoutHash(0), WithoutHash(1)


@pytest.mark.parametrize(
    "make",
    [
        bound_methods,
        defaults,
        keyword_defaults,
        closures_over_methods,
        closures_over_instances,
        closures_over_partial_functions,
        closures_over_tuples,
        closures_over_settings,
        closures_that_hold_a_number_in_another_place,
        instances,
        instances_without_hash,
    ],
)
def test_programs_of_the_same_code_do_not_share_what_depends_on_what(make):
    """What the first has shown would leave the second without its gradient."""
    few = {"num_particles": 8, "max_plate_nesting": 0}
    static = pg.ExpectedCost(estimators="score_function", static=True, **few)
    sound = pg.ExpectedCost(estimators="score_function", **few)
    programs = make()

    def rewarded(objective, which):
        pyro.set_rng_seed(1)
        pyro.get_param_store().clear()
        objective(programs[which]).backward()
        store = pyro.get_param_store()
        grads = [store[f"{name}_logit"].grad for name in ("a", "b")]
        return torch.stack([torch.zeros(()) if g is None else g for g in grads])

    for which in (0, 1):
        rewarded(static, which)  # counts everything as downstream where it is new
        found = rewarded(static, which)
        torch.testing.assert_close(found, rewarded(sound, which), rtol=0, atol=0)
        assert found[which] != 0 and found[1 - which] == 0


def test_a_program_that_calls_itself_is_no_riddle():
    def walk(steps=3):
        coin = pyro.sample(f"c{steps}", dist.Bernoulli(logits=logit))
        pg.cost(f"k{steps}", coin)
        if steps:
            walk(steps - 1)

    logit = torch.tensor(0.0, requires_grad=True)
    objective = pg.ExpectedCost(estimators="enumerate", static=True)
    for _ in range(2):
        logit.grad = None
        objective(walk).backward()
        assert logit.grad == 4 * 0.25


def test_a_closure_over_new_data_is_the_same_program():
    def program(data):
        return lambda: pg.cost("loss", data["x"][0])

    first, second = (program_key(program({"x": [torch.ones(2)]})) for _ in range(2))
    assert first == second and hash(first) == hash(second)
