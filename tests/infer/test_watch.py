"""Which runs are watched, and that a run without the watch is sound all the same."""

import copy
import pickle
from contextlib import contextmanager

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO

import pgplugins as pg
from pgplugins.core.terms import CostTerm, Site
from pgplugins.infer import static
from pgplugins.infer.run import Run
from tests.infer import scripted
from tests.infer.same import assert_same, gradients, ours
from tests.infer.scripted import Coin, exact, moments


@pytest.fixture
def watched(monkeypatch):
    """A list that grows by one with each run that is watched."""
    runs = []

    class Counted(static.Watch):
        def __enter__(self):
            runs.append(True)
            return super().__enter__()

    monkeypatch.setattr(static, "Watch", Counted)
    return runs


def program(mean):
    """A coin that shifts an observation, and another that has nothing to do with it."""

    def model():
        c = pyro.sample("c", dist.Bernoulli(0.5))
        d = pyro.sample("d", dist.Bernoulli(0.3))
        pyro.sample("x", dist.Normal(mean(c), 1.0), obs=torch.tensor(2.5))
        pyro.sample("y", dist.Normal(d, 1.0), obs=torch.tensor(0.5))

    def guide():
        logits = pyro.param("l", torch.tensor([0.0, 0.4]))
        pyro.sample("c", Coin(logits=logits[0]))
        pyro.sample("d", Coin(logits=logits[1]))

    return model, guide


@contextmanager
def unscripted():
    """Let coins fall outside the path that is being followed."""
    script, scripted._script = scripted._script, scripted._Script()
    yield
    scripted._script = script


def sound(**arguments):
    return ours(dependencies="provenance", **arguments)


def at_seeds(objective, model, guide, runs, start=0):
    """Loss and gradients at as many seeds, of one objective, parameters at rest."""
    results = []
    for seed in range(start, start + runs):
        for parameter in pyro.get_param_store()._params.values():
            parameter.grad = None
        pyro.set_rng_seed(seed)
        loss = objective.loss_and_grads(model, guide)
        results.append((loss, gradients()))
    return results


def seeded(mean):
    """As :func:`program`, with draws that follow torch's seed."""
    model, _ = program(mean)

    def guide():
        logits = pyro.param("l", torch.tensor([0.0, 0.4]))
        pyro.sample("c", dist.Bernoulli(logits=logits[0]))
        pyro.sample("d", dist.Bernoulli(logits=logits[1]))

    return model, guide


def test_a_program_that_does_not_branch_is_watched_until_nothing_is_new(watched):
    model, guide = seeded(lambda c: 3 * c)
    objective = sound()
    for _ in range(6):
        objective.loss_and_grads(model, guide)
    assert len(watched) == 2


WATCHED = {
    "a branch": lambda c: 3.0 if c > 0 else 0.0,
    "a hidden value": lambda c: torch.full((), 3 * c),
    "a plain value": lambda c: 3 * c if torch.ones(()) > 0 else c,
}


@pytest.mark.parametrize("name", WATCHED)
def test_a_program_that_reads_values_is_always_watched(name, watched):
    model, guide = seeded(WATCHED[name])
    objective = sound()
    for _ in range(6):
        objective.loss_and_grads(model, guide)
    assert len(watched) == 6


def test_runs_that_track_nothing_are_not_watched_for_their_branches(watched):
    def model():
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(3.0 if z > 0 else 0.0, 1.0), obs=torch.ones(()))

    def guide():
        pyro.sample("z", dist.Normal(pyro.param("m", torch.zeros(())), 1.0))

    objective = sound()
    for _ in range(6):
        objective.loss_and_grads(model, guide)
    assert len(watched) == 2


@pytest.mark.parametrize("dependencies", ["plates", "order"])
def test_other_dependencies_need_no_watch(dependencies, watched):
    model, guide = seeded(lambda c: 3 * c)
    ours(dependencies=dependencies).loss_and_grads(model, guide)
    assert watched == []


def test_what_a_plain_value_switches_on_is_not_lost():
    """The two ways have the same sites and as many tracked calls."""
    switch = torch.zeros(())
    model, guide = program(lambda c: torch.full((), 3 * c) if switch > 0 else 3 * c)
    objective = sound()
    guide()
    for _ in range(5):
        moments(objective, model, guide)
    switch.fill_(1.0)
    gradient, _ = exact(model, guide)
    assert gradient[0].item() == pytest.approx(-0.75)
    torch.testing.assert_close(moments(objective, model, guide).mean, gradient)


CHANGES = {
    "a branch": lambda c: 3.0 if c > 0 else 0.0,
    "more calls, and a hidden value": lambda c: torch.full((), 3 * (c + 0)),
    "a text, and as many calls": lambda c: 3 * c if str(c) else c,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_program_that_changes_of_its_own_accord(name, watched):
    """One run counts everything as downstream; from the next on all is as in others."""
    state = {"changed": False}
    model, guide = seeded(
        lambda c: CHANGES[name](c) if state["changed"] else 3 * c,
    )
    guide()
    objective = sound()
    at_seeds(objective, model, guide, 5)
    assert len(watched) == 2
    state["changed"] = True
    (first,) = at_seeds(objective, model, guide, 1)
    (cautious,) = at_seeds(ours(dependencies="plates"), model, guide, 1)
    assert_same(first, cautious)
    later = at_seeds(objective, model, guide, 5, start=1)
    for one, other in zip(
        later, at_seeds(sound(), model, guide, 5, start=1), strict=True
    ):
        assert_same(one, other)
    assert len(watched) == 2 + 5 + 5
    state["changed"] = False
    back = at_seeds(objective, model, guide, 5)
    for one, other in zip(back, at_seeds(sound(), model, guide, 5), strict=True):
        assert_same(one, other)


def test_where_a_program_changes_everything_is_downstream_of_everything():
    runs = []

    def execute(policy):
        value = torch.zeros(len(runs))
        bit = policy.source(f"z{len(runs) // 3}", many_rows=False)
        draw = pg.Draw(dist=dist.Normal(0.0, 1.0), value=value)
        site = Site("z", pg.estimator("score_function"), draw, frozenset(), bit, 0)
        runs.append(Run([site], [CostTerm("r", value, frozenset(), bit)]))
        return runs[-1]

    finder = static.EveryRun("provenance")
    for _ in range(4):
        finder.run(execute, execute)
    assert [run.sites[0].upstream for run in runs] == [0, 0, 0, -1]
    assert [run.costs[0].upstream for run in runs] == [1, 1, 1, -1]


def test_the_run_in_which_a_program_changes_is_unbiased():
    """Enumerated: each path is the first after the change, from the same past."""
    state = {"changed": False}
    model, guide = program(
        lambda c: torch.full((), 3 * (c + 0)) if state["changed"] else 3 * c
    )
    guide()

    class Changing:
        """An objective that knows the program, at the run in which it changes."""

        def loss_and_grads(self, *pair):
            objective = sound()
            state["changed"] = False
            for _ in range(3):
                with unscripted():
                    objective.loss(*pair)
            state["changed"] = True
            return objective.loss_and_grads(*pair)

    state["changed"] = True
    gradient, _ = exact(model, guide)
    torch.testing.assert_close(moments(Changing(), model, guide).mean, gradient)


def test_a_new_path_is_watched_once_and_then_known(watched):
    state = {"calls": 0}

    def mean(c):
        for _ in range(state["calls"]):
            c = c + 0.0
        return 3 * c

    model, guide = seeded(mean)
    objective = sound()
    at_seeds(objective, model, guide, 4)
    assert len(watched) == 2
    state["calls"] = 2
    at_seeds(objective, model, guide, 6)
    # Not the first, which shows that the path is new; the second brings the new
    # path, the third shows nothing new.
    assert len(watched) == 4
    state["calls"] = 0
    at_seeds(objective, model, guide, 4)
    assert len(watched) == 4


def test_a_path_that_does_not_come_again_is_not_waited_for_forever(watched):
    state = {"calls": 0}
    model, guide = seeded(lambda c: 3 * (c + 0.0) if state["calls"] else 3 * c)
    objective = sound()
    at_seeds(objective, model, guide, 4)
    state["calls"] = 1
    at_seeds(objective, model, guide, 1)
    state["calls"] = 0
    at_seeds(objective, model, guide, 120)
    assert len(watched) == 2 + 100


@pytest.mark.parametrize("mean", [lambda c: 3 * c, WATCHED["a branch"]])
def test_first_and_later_runs_equal_trace_elbo(mean):
    """Where every cost depends on every site, sample by sample."""

    def model():
        c = pyro.sample("c", dist.Bernoulli(0.5))
        pyro.sample("x", dist.Normal(mean(c), 1.0), obs=torch.tensor(2.5))

    def guide():
        pyro.sample("c", dist.Bernoulli(logits=pyro.param("l", torch.tensor(0.3))))

    guide()
    mine = at_seeds(sound(), model, guide, 6)
    theirs = at_seeds(Trace_ELBO(), model, guide, 6)
    for one, other in zip(mine, theirs, strict=True):
        assert_same(one, other)


def test_an_expected_cost_is_watched_in_the_same_way(watched):
    def rollout(cost):
        a = pyro.sample("a", dist.Bernoulli(logits=pyro.param("l", torch.zeros(()))))
        pg.cost("r", cost(a))

    objective = pg.ExpectedCost(estimators="score_function")
    for _ in range(5):
        objective(rollout, torch.neg)
    assert len(watched) == 2
    for _ in range(5):
        objective(rollout, lambda a: -1.0 * torch.full((), a))
    # The first of these runs takes an unknown path without the watch.
    assert len(watched) == 2 + 4


def test_a_static_objective_is_watched_where_it_finds_its_structure(watched):
    model, guide = seeded(lambda c: 3 * c)
    objective = sound(static=True)
    for _ in range(5):
        objective.loss_and_grads(model, guide)
    assert len(watched) == 1
    with pytest.raises(pg.PgpluginsError, match="static=True"):
        sound(static=True).loss_and_grads(*seeded(WATCHED["a hidden value"]))


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)
def test_a_copy_learns_anew(again, watched):
    model, guide = seeded(lambda c: 3 * c)
    objective = sound()
    at_seeds(objective, model, guide, 3)
    objective._structure = again(objective._structure)
    at_seeds(objective, model, guide, 3)
    assert len(watched) == 4


def test_what_is_remembered_is_bounded():
    finder = static.EveryRun("provenance")
    for i in range(100):
        finder._paths(i).note(i, quiet=True)
    assert len(finder._programs) == static._PROGRAMS
    paths = static._Paths()
    for i in range(1000):
        paths.note(i, quiet=True)
        assert len(paths.quiet) <= static._QUIET_PATHS


def test_a_program_without_a_hash_is_watched_no_longer_than_others(watched):
    class Model:
        __hash__ = None

        def __call__(self):
            model()

    model, guide = seeded(lambda c: 3 * c)
    at_seeds(sound(), Model(), guide, 4)
    assert len(watched) == 2
