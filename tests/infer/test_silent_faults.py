"""Programs that once had a wrong gradient without a word."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import pgplugins as pg
from tests.statistics import parameter


def store_gradient(elbo: pg.ELBO, model: Any, guide: Any) -> torch.Tensor:
    params = list(dict(pyro.get_param_store().named_parameters()).values())
    loss = elbo.differentiable_loss(model, guide)
    return torch.stack(torch.autograd.grad(loss, params)).flatten()


def test_surrogate_takes_no_baseline_unless_asked() -> None:
    """A rollout: step 0's cost-to-go holds step 1's action. Exact: (0.25, 0.75)."""
    logits = parameter(0.0, 0.0)
    law = dist.Bernoulli(logits=logits)
    total = torch.zeros(2, dtype=torch.float64)
    for a in (0.0, 1.0):
        for b in (0.0, 1.0):
            actions = torch.tensor([a, b], dtype=torch.float64)
            costs = torch.tensor([a + 3 * b, 3 * b], dtype=torch.float64)
            term = pg.surrogate(law, actions, costs).sum()
            total += torch.autograd.grad(term, logits)[0] / 4
    torch.testing.assert_close(total, torch.tensor([0.25, 0.75]).double())


@pytest.mark.parametrize("where", ["handler", "distribution"])
def test_a_guide_mask_that_depends_on_a_draw(where: str) -> None:
    """Its own density is then downstream of that draw."""

    def program(p: Any, q: float) -> None:
        c = pyro.sample("c", p)
        if where == "handler":
            with poutine.mask(mask=c > 0):
                pyro.sample("z", dist.Bernoulli(q))
        else:
            pyro.sample("z", dist.Bernoulli(q).mask(c > 0))

    def model() -> None:
        program(dist.Bernoulli(0.5), 0.1)

    def guide() -> None:
        program(dist.Bernoulli(logits=pyro.param("l", torch.tensor(0.3))), 0.8)

    pyro.clear_param_store()
    guide()
    score = pg.estimator("score_function", baseline=None)
    found = {}
    for kind in ("provenance", "plates"):
        elbo = pg.ELBO(estimators=score, dependencies=kind)
        pyro.set_rng_seed(0)
        runs = [store_gradient(elbo, model, guide) for _ in range(300)]
        found[kind] = torch.stack(runs)
    # Every cost is downstream of c here, so both see the same costs draw by draw.
    torch.testing.assert_close(found["provenance"].mean(), found["plates"].mean())


def test_a_cost_of_particles_by_one_is_refused() -> None:
    mu = torch.tensor([1.0], requires_grad=True)

    def program() -> None:
        x = pyro.sample("x", dist.Normal(mu, 1.0).to_event(1))
        pg.cost("c", x**2)

    with pytest.raises(pg.PgpluginsError, match="sum over the others"):
        pg.ExpectedCost(num_particles=8)(program)


def test_a_cost_in_a_guide_is_refused() -> None:
    def guide() -> None:
        z = pyro.sample("z", dist.Normal(pyro.param("m", torch.tensor(0.0)), 1.0))
        pg.cost("lost", 1000 * z**2)

    pyro.clear_param_store()
    with pytest.raises(pg.PgpluginsError, match="'lost'"):
        pg.ELBO().differentiable_loss(
            lambda: pyro.sample("z", dist.Normal(0.0, 1.0)), guide
        )


def test_an_estimator_at_a_site_of_the_model_is_refused() -> None:
    def model() -> None:
        pyro.sample("z", dist.Normal(0.0, 1.0), infer={"estimator": "nonsense"})

    def guide() -> None:
        pyro.sample("z", dist.Normal(pyro.param("m", torch.tensor(0.0)), 1.0))

    pyro.clear_param_store()
    with pytest.raises(pg.PgpluginsError, match=r"'z' of the model.*guide"):
        pg.ELBO().differentiable_loss(model, guide)


@pytest.mark.parametrize("name", ["score_function", "hybrid"])
def test_a_support_that_moves_with_a_parameter_is_refused(name: str) -> None:
    high = torch.tensor(3.0, requires_grad=True)
    with pytest.raises(pg.PgpluginsError, match=r"support of Uniform"):
        pg.expectation(lambda x: x**3, dist.Uniform(1.0, high), estimator=name)
    # Bounds that are not differentiated for are no obstacle.
    scale = torch.tensor(1.0, requires_grad=True)
    loss = pg.expectation(
        lambda x: scale * x, dist.Uniform(0.0, 1.0), estimator="score_function"
    )
    assert loss.requires_grad


def test_static_dependencies_belong_to_one_program() -> None:
    def model(second: bool) -> Any:
        def joint() -> None:
            a = pyro.sample("a", dist.Bernoulli(0.5))
            b = pyro.sample("b", dist.Bernoulli(0.5))
            pyro.factor("f", -3 * (b if second else a))

        def other() -> None:
            joint()

        return other if second else joint

    def guide() -> None:
        logits = pyro.param("l", torch.zeros(2))
        pyro.sample("a", dist.Bernoulli(logits=logits[0]))
        pyro.sample("b", dist.Bernoulli(logits=logits[1]))

    pyro.clear_param_store()
    guide()
    score = pg.estimator("score_function", baseline=None)
    static = pg.ELBO(estimators=score, static=True)
    sound = pg.ELBO(estimators=score)
    first, second = model(False), model(True)
    store_gradient(static, first, guide)
    for seed in range(20):
        # The first run of a structure is drawn twice, untracked and then tracked.
        store_gradient(static, second, guide)
        pyro.set_rng_seed(seed)
        found = store_gradient(static, second, guide)
        pyro.set_rng_seed(seed)
        torch.testing.assert_close(found, store_gradient(sound, second, guide))


def test_a_cost_that_is_not_finite_spoils_no_later_call() -> None:
    logit = torch.tensor(0.0, requires_grad=True)
    value = torch.tensor(float("nan"))

    def program() -> None:
        a = pyro.sample("a", dist.Bernoulli(logits=logit))
        pg.cost("c", a * 0 + value)

    average = pg.estimator("score_function", baseline="moving_average")
    objective = pg.ExpectedCost(estimators=average)
    with pytest.raises(pg.PgpluginsError, match="'c' is nan"):
        objective(program)
    value = torch.tensor(2.0)
    for _ in range(3):
        assert objective(program).item() == 2.0


def test_a_baseline_made_anew_for_every_run_is_the_one_that_is_used() -> None:
    logit = torch.tensor(0.0, requires_grad=True)

    def program() -> None:
        a = pyro.sample("a", dist.Bernoulli(logits=logit))
        pg.cost("c", a * 0 + 10.0)

    guesses = [torch.tensor(float(k)) for k in range(6)]
    asked = iter(guesses)

    def choose(site: Any) -> pg.Estimator:
        return pg.estimator("score_function", baseline=next(asked))

    objective = pg.ExpectedCost(estimators=choose)
    for guess in guesses:
        objective(program)
        assert objective.estimator_of("a").baseline.value == guess


def test_a_network_given_as_a_baseline_is_trained_where_the_user_holds_it() -> None:
    network = torch.nn.Linear(1, 1)
    logit = torch.tensor(0.0, requires_grad=True)

    def program() -> None:
        a = pyro.sample("a", dist.Bernoulli(logits=logit))
        pg.cost("c", a + 1.0)

    pyro.clear_param_store()
    chosen = pg.estimator("score_function", baseline=network)
    pg.ExpectedCost(estimators=chosen)(program).backward()
    assert network.weight.grad is not None


@pytest.mark.parametrize("name", ["type", "float", "of", "bind", "a.b", "a__b"])
def test_any_name_is_a_site_name(name: str) -> None:
    logit = torch.tensor(0.0, requires_grad=True)

    def program() -> None:
        a = pyro.sample(name, dist.Bernoulli(logits=logit))
        pg.cost("c", 3 * a)

    objective = pg.ExpectedCost(estimators="enumerate")
    objective(program).backward()
    assert logit.grad.item() == pytest.approx(0.75)  # type: ignore[union-attr]
    assert objective.estimator_of(name).name == "enumerate"


def test_a_loss_multiplied_by_zero_is_no_flat_cost() -> None:
    mu = torch.tensor(0.3, requires_grad=True)
    law = dist.Normal(mu, 1.0)
    (0.0 * pg.expectation(lambda x: x**2, law, num_samples=8)).backward()
    assert mu.grad.item() == 0.0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "f",
    [
        lambda z: z.type(torch.float64),
        lambda z: torch.stack(torch.stack([z, z]).unsqueeze(0).max(0))[0, 0],
    ],
    ids=["cast", "container"],
)
def test_a_cast_and_containers_keep_the_provenance(f: Any) -> None:
    """All costs are downstream of z, so plates and provenance see the same ones."""

    def model() -> None:
        z = pyro.sample("z", dist.Bernoulli(0.5))
        z.type()
        pyro.factor("three", -3 * f(z))

    def guide() -> None:
        logit = pyro.param("l", torch.tensor(0.0))
        pyro.sample("z", dist.Bernoulli(logits=logit))

    pyro.clear_param_store()
    guide()
    found = []
    for kind in ("provenance", "plates"):
        elbo = pg.ELBO(
            estimators=pg.estimator("score_function", baseline=None), dependencies=kind
        )
        pyro.set_rng_seed(0)
        found.append(
            torch.stack([store_gradient(elbo, model, guide) for _ in range(8)])
        )
    torch.testing.assert_close(*found)
