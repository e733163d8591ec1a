"""Particles in chunks: exact gradients, and memory that is one chunk's."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from pgplugins.core.pooling import LOCAL
from pgplugins.core.taken import take_gradients
from pgplugins.diagnostics.memory import peak_memory
from pgplugins.estimators.score_function import ScoreFunction
from pgplugins.infer.particles import turns
from tests.statistics import assert_mean, gradients, parameter

CHUNKS = {"num_particles": 17, "chunk_size": 8, "vectorize_particles": True}


def sizes(particles, chunk_size):
    runs = turns(particles, LOCAL, vectorized=True, chunk_size=chunk_size)
    return [turn.side_by_side for turn in runs]


def test_chunks_are_as_few_and_as_even_as_can_be():
    assert sizes(17, 8) == [6, 6, 5]
    assert sizes(16, 8) == [8, 8]
    assert sizes(7, 3) == [3, 2, 2]
    assert sizes(5, 8) == [5]
    assert sizes(5, None) == [5]
    for particles in range(2, 60):
        for chunk_size in range(3, 20):
            found = sizes(particles, chunk_size)
            assert sum(found) == particles
            assert len(found) == -(-particles // chunk_size)
            assert 2 <= min(found) and max(found) <= chunk_size


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"chunk_size": 0}, "positive integer"),
        ({"chunk_size": True}, "positive integer"),
        ({"chunk_size": 1}, "vectorize_particles=False"),
        ({"chunk_size": 2}, "leaves one of 17 particles alone"),
        ({"chunk_size": 8, "vectorize_particles": False}, "one after another"),
    ],
)
@pytest.mark.parametrize("objective", [pg.ELBO, pg.IWELBO, pg.ExpectedCost])
def test_what_cannot_be_run_in_chunks_is_refused(objective, wrong, says):
    with pytest.raises(pg.errors.InputError, match=says):
        objective(**CHUNKS | wrong)


def coins():
    """Two coins of which the second depends on the first; 3 parameters."""
    w = parameter(0.4, -0.3, 0.8)
    x = torch.tensor(1.2, dtype=torch.float64)

    def model():
        a = pyro.sample("a", dist.Bernoulli(torch.tensor(0.3).double()))
        b = pyro.sample("b", dist.Bernoulli(0.2 + 0.5 * a))
        pyro.sample("x", dist.Normal(2 * b + a, 1.0), obs=x)

    def guide():
        a = pyro.sample("a", dist.Bernoulli(logits=w[0]))
        pyro.sample("b", dist.Bernoulli(logits=w[1] + w[2] * a))

    return model, guide, w


def exact_elbo(model, guide, w):
    elbo = pg.ELBO(estimators="enumerate", max_plate_nesting=0)
    return torch.autograd.grad(elbo.differentiable_loss(model, guide), w)[0]


@pytest.mark.parametrize("static", [False, True])
def test_the_elbo_has_the_gradient_of_enumeration(static):
    """17 particles in chunks of 6, 6 and 5; budget and power as in ``assert_mean``."""
    model, guide, w = coins()
    elbo = pg.ELBO(
        estimators="score_function", max_plate_nesting=1, static=static, **CHUNKS
    )
    found = gradients(lambda: elbo.differentiable_loss(model, guide), [w], 1000)
    assert_mean(found, exact_elbo(model, guide, w))


def test_every_way_to_the_gradient_is_the_same():
    model, guide, w = coins()
    elbo = pg.ELBO(estimators="score_function", max_plate_nesting=1, **CHUNKS)
    for _ in range(3):  # the dependencies have been found by then
        elbo.loss(model, guide)
    results = []
    for way in (elbo.differentiable_loss, elbo.first_order_loss):
        torch.manual_seed(3)
        loss = way(model, guide)
        results.append((loss.item(), torch.autograd.grad(loss, w)[0]))
    torch.manual_seed(3)
    value = elbo.loss_and_grads(model, guide)
    results.append((value, w.grad))
    torch.manual_seed(3)
    assert elbo.loss(model, guide) == pytest.approx(value)
    for other, gradient in results[1:]:
        assert other == pytest.approx(results[0][0])
        torch.testing.assert_close(gradient, results[0][1])


def test_a_chunk_keeps_its_baseline():
    """The variance is that of leave-one-out over 6, 6 and 5, and not of no baseline.

    A cost of 10 + z: alone its variance at p = 1/2 would be above 27 per particle. With
    the others' mean of m particles a particle's term is (z - p)(z - mean of others),
    whose sum over a chunk is (m - 1) times half the sample variance, and the variance
    of that over m is worked out by enumeration below.
    """
    logit = parameter(0.0)

    def program():
        pg.cost("c", 10 + pyro.sample("z", dist.Bernoulli(logits=logit)))

    def variance_of_sum(m):
        z = torch.cartesian_prod(*[torch.arange(2.0).double()] * m)
        others = (z.sum(1, keepdim=True) - z) / (m - 1)
        terms = ((z - others) * (z - 0.5)).sum(1)
        return terms.var(unbiased=False)

    objective = pg.ExpectedCost(estimators="score_function", **CHUNKS)
    found = gradients(lambda: objective(program), [logit], 3000)
    assert_mean(found, torch.tensor([0.25]))
    expected = (2 * variance_of_sum(6) + variance_of_sum(5)) / 17**2
    assert found.var().item() == pytest.approx(expected.item(), rel=0.1)


def test_particles_in_chunks_see_one_subsample():
    seen = []

    def program():
        with pyro.plate("data", 1000, subsample_size=3) as indices:
            seen.append(tuple(indices.tolist()))
            mu = torch.zeros(3, requires_grad=True)
            pg.cost("c", pyro.sample("z", dist.Normal(mu, 1.0)))

    objective = pg.ExpectedCost(max_plate_nesting=1, **CHUNKS)
    for _ in range(2):
        objective(program)
    assert len(seen) == 6
    assert len(set(seen[:3])) == len(set(seen[3:])) == 1
    assert seen[0] != seen[3]


def test_static_finds_the_dependencies_of_both_sizes():
    """After a few calls a score site of either size has its own costs downstream."""
    logits = parameter(0.3, -0.5)

    def program():
        a = pyro.sample("a", dist.Bernoulli(logits=logits[0]))
        pg.cost("ca", a)
        b = pyro.sample("b", dist.Bernoulli(logits=logits[1]))
        pg.cost("cb", 100 * b)

    objective = pg.ExpectedCost(estimators="score_function", static=True, **CHUNKS)
    for _ in range(4):
        objective(program)
    for run in objective.runs(program):
        assert [site.upstream for site in run.sites] == [0, 0]
        assert run.costs[0].upstream & run.costs[1].upstream == 0


def test_second_derivatives_are_refused():
    model, guide, w = coins()
    elbo = pg.ELBO(estimators="score_function", max_plate_nesting=1, **CHUNKS)
    loss = elbo.differentiable_loss(model, guide)
    with pytest.raises(pg.errors.InputError, match="no second derivatives"):
        torch.autograd.grad(loss, w, create_graph=True)


def test_taken_gradients_are_those_of_the_sum():
    """With a shared graph outside, leaves of some parts, and parts without any."""
    a, b = parameter(1.0, 2.0), parameter(3.0)
    outside = a.exp()
    parts = [
        lambda: (outside * b).sum(),
        lambda: outside.square().sum(),
        lambda: b.detach() * 2,
        lambda: b * 1.0,
    ]
    whole = sum(part() for part in parts)
    wanted = torch.autograd.grad(3 * whole, [a, b], retain_graph=True)
    loss = take_gradients(part() for part in parts)
    found = torch.autograd.grad(3 * loss, [a, b])
    assert loss.item() == pytest.approx(whole.item())
    for x, y in zip(found, wanted, strict=True):
        torch.testing.assert_close(x, y)
    with torch.no_grad():
        assert not take_gradients(part() for part in parts).requires_grad


# Bounds that join their particles

X = torch.tensor(1.2, dtype=torch.float64)


def one_site(kind):
    """A site whose draws the model records, and the densities of model and guide."""
    w = parameter(0.4, -0.3)
    seen = []
    prior, law = {
        "coin": (
            dist.Bernoulli(torch.tensor(0.3).double()),
            lambda: dist.Bernoulli(logits=w[0] + w[1]),
        ),
        "normal": (
            dist.Normal(torch.tensor(0.0).double(), 1.0),
            lambda: dist.Normal(w[0], w[1].exp()),
        ),
    }[kind]

    def density(z):
        return dist.Normal(2 * z, 1.0).log_prob(X) + prior.log_prob(z)

    def model():
        z = pyro.sample("z", prior)
        seen.append(z.detach().reshape(-1))
        pyro.sample("x", dist.Normal(2 * z, 1.0), obs=X)

    def guide():
        pyro.sample("z", law())

    return model, guide, w, seen, density, law


def renyi(costs, alpha):
    return -(((alpha - 1) * costs).exp().mean().log()) / (1 - alpha)


@pytest.mark.parametrize("alpha", [0.0, 0.5, -1.0])
@pytest.mark.parametrize("kind", ["coin", "normal"])
def test_a_joined_bound_is_that_of_all_particles(kind, alpha):
    """Draw by draw: value, baselines (VIMCO) and gradient of the 17 together."""
    model, guide, w, seen, density, law = one_site(kind)
    bound = pg.RenyiELBO(alpha, max_plate_nesting=1, **CHUNKS)
    for way in ("loss_and_grads", "differentiable_loss"):
        seen.clear()
        w.grad = None
        found = getattr(bound, way)(model, guide)
        if way == "differentiable_loss":
            found.backward()
            found = found.item()
        first, second = seen[-6:-3], seen[-3:]
        assert [len(z) for z in second] == [6, 6, 5]
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        z = torch.cat(second)
        q = law()
        if kind == "normal":
            path = q.loc + q.scale * ((z - q.loc) / q.scale).detach()
            surrogate = wanted = renyi(q.log_prob(path) - density(path), alpha)
        else:
            costs = q.log_prob(z) - density(z)
            wanted = renyi(costs, alpha)
            held = costs.detach()
            rests = [torch.cat([held[:k], held[k + 1 :]]) for k in range(17)]
            baseline = torch.stack(
                [renyi(torch.cat([r, r.mean(0, keepdim=True)]), alpha) for r in rests]
            )
            surrogate = wanted + ((wanted.detach() - baseline) * q.log_prob(z)).sum()
        (gradient,) = torch.autograd.grad(surrogate, w)
        assert found == pytest.approx(wanted.item())
        torch.testing.assert_close(w.grad, gradient)


@pytest.mark.parametrize("kind", ["coin", "normal"])
def test_the_loss_of_a_joined_bound_needs_one_pass(kind):
    model, guide, _, seen, density, law = one_site(kind)
    bound = pg.IWELBO(max_plate_nesting=1, **CHUNKS)
    bound.loss(model, guide)
    seen.clear()
    found = bound.loss(model, guide)
    assert len(seen) == 3
    z = torch.cat(seen)
    assert found == pytest.approx(renyi(law().log_prob(z) - density(z), 0.0).item())


def test_draws_after_a_joined_bound_are_new():
    model, guide, _, seen, *_ = one_site("normal")
    bound = pg.IWELBO(max_plate_nesting=1, **CHUNKS)
    for _ in range(2):
        bound.loss_and_grads(model, guide)
    after = torch.randn(50, dtype=torch.float64)
    scale = torch.tensor(-0.3).double().exp()
    noise = torch.cat([(z - 0.4) / scale for z in (*seen[-9:-6], *seen[-3:])])
    gaps = (torch.cat([after, noise]).sort().values).diff()
    assert gaps.min() > 1e-9


def test_corrections_draw_what_no_chunk_draws():
    model, guide, _, seen, *_ = one_site("normal")
    drawn = []

    class Drawing(ScoreFunction):
        def gradient_term(self, draw, cost):
            drawn.append(torch.randn(6, dtype=torch.float64))
            return super().gradient_term(draw, cost)

    bound = pg.IWELBO(estimators=Drawing(), max_plate_nesting=1, **CHUNKS)
    for _ in range(2):
        bound.loss_and_grads(model, guide)
    scale = torch.tensor(-0.3).double().exp()
    noise = torch.cat([(z - 0.4) / scale for z in (*seen[-9:-6], *seen[-3:])])
    gaps = (torch.cat([noise, *drawn]).sort().values).diff()
    assert len(drawn) == 6
    assert gaps.min() > 1e-9


def test_bounds_of_elements_are_joined_in_chunks():
    """Against the bound of each element by itself, draw by draw."""
    w = parameter(0.4, -0.9)
    x = torch.tensor([1.2, -0.4], dtype=torch.float64)
    prior = dist.Normal(torch.zeros(()).double(), 1.0)
    seen = []

    def model():
        with pyro.plate("data", 2):
            z = pyro.sample("z", prior)
            seen.append(z.detach())
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide():
        with pyro.plate("data", 2):
            pyro.sample("z", dist.Normal(w, 1.0))

    bound = pg.IWELBO(plate="data", max_plate_nesting=1, **CHUNKS)
    found = bound.loss_and_grads(model, guide)
    path = w + (torch.cat(seen[-3:]) - w).detach()
    costs = dist.Normal(w, 1.0).log_prob(path) - prior.log_prob(path)
    costs = costs - dist.Normal(path, 1.0).log_prob(x)
    wanted = sum(renyi(costs[:, i], 0.0) for i in range(2))
    assert found == pytest.approx(wanted.item())
    torch.testing.assert_close(w.grad, torch.autograd.grad(wanted, w)[0])


def test_a_program_that_changes_between_the_passes_is_refused():
    calls = []

    def model():
        calls.append(0)
        pyro.sample("z", dist.Normal(float(len(calls)), 1.0))

    def guide():
        pyro.sample("z", dist.Normal(parameter(0.0), 1.0))

    bound = pg.IWELBO(max_plate_nesting=1, **CHUNKS)
    with pytest.raises(pg.errors.ProgramError, match="run twice"):
        bound.loss_and_grads(model, guide)


def test_estimators_that_learn_are_refused_where_particles_are_joined():
    model, guide, *_ = one_site("normal")
    bound = pg.IWELBO(estimators="hybrid", max_plate_nesting=1, **CHUNKS)
    with pytest.raises(pg.errors.EstimatorError, match="'z' learns"):
        bound.loss_and_grads(model, guide)


class Twins:
    """Two ranks that do the same."""

    rank, size = 0, 2

    def all_reduce(self, tensor):
        return 2 * tensor

    def all_gather(self, tensor):
        return [tensor, tensor.clone()]


@pytest.mark.parametrize("make", [pg.ELBO, pg.IWELBO])
def test_every_rank_runs_its_share_in_chunks(make):
    """22 particles on two ranks: 11 each, in chunks of 6 and 5."""
    model, guide, w, seen, density, law = one_site("normal")
    options = CHUNKS | {"num_particles": 22}
    objective = make(max_plate_nesting=1, distributed=Twins(), **options)
    found = objective.loss_and_grads(model, guide)
    assert [len(z) for z in seen[-2:]] == [6, 5]
    q, z = law(), torch.cat(seen[-2:])
    path = q.loc + q.scale * ((z - q.loc) / q.scale).detach()
    costs = q.log_prob(path) - density(path)
    wanted = costs.mean() if make is pg.ELBO else renyi(costs, 0.0)
    (gradient,) = torch.autograd.grad(wanted, w)
    assert found == pytest.approx(wanted.item())
    # The leaf is no parameter of Pyro's, so nobody has added up the ranks' gradients.
    torch.testing.assert_close(2 * w.grad, gradient)


# Memory

WIDTH = 2000


def wide_pair():
    loc = torch.zeros(WIDTH, requires_grad=True)

    def model():
        with pyro.plate("data", WIDTH):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.exp().sin().tanh(), 1.0), obs=loc.detach())

    def guide():
        with pyro.plate("data", WIDTH):
            pyro.sample("z", dist.Normal(loc, 1.0))

    return model, guide, loc


def peak_of(kind, num_particles, chunk_size=None):
    """The most bytes of one gradient, once the program is known."""
    model, guide, loc = wide_pair()

    def program():
        with pyro.plate("data", WIDTH):
            z = pyro.sample("z", dist.Normal(loc, 1.0))
            pg.cost("c", z.exp().sin().tanh())

    options = {"num_particles": num_particles, "chunk_size": chunk_size}
    if kind == "ExpectedCost":
        objective = pg.ExpectedCost(max_plate_nesting=1, **options)

        def step():
            objective(program).backward()

    else:
        make = pg.IWELBO if kind.startswith("IWELBO") else pg.ELBO
        elbo = make(max_plate_nesting=2, vectorize_particles=True, **options)

        def step():
            if kind in ("loss_and_grads", "IWELBO"):
                elbo.loss_and_grads(model, guide)
            elif kind == "loss":
                elbo.loss(model, guide)
            else:
                elbo.differentiable_loss(model, guide).backward()

    for _ in range(3):
        step()
    return peak_memory(step)


KINDS = pytest.mark.parametrize(
    "kind",
    [
        "loss_and_grads",
        "differentiable_loss",
        "loss",
        "ExpectedCost",
        "IWELBO",
        "IWELBO, one graph",
    ],
)


@KINDS
def test_memory_is_linear_in_particles(kind):
    few, some, many = (peak_of(kind, n) for n in (8, 16, 64))
    assert many - some == pytest.approx(6 * (some - few), rel=0.01)


@KINDS
def test_memory_of_chunks_is_that_of_one(kind):
    one = peak_of(kind, 8)
    few, many = (peak_of(kind, n, chunk_size=8) for n in (24, 64))
    assert many == pytest.approx(few, rel=0.001)  # numbers per particle
    # Beside the graph of a chunk there are the gradients so far, and the costs.
    assert many < 1.5 * one
