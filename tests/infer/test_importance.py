"""Bounds that join their particles, against enumeration of all tuples of paths.

Pyro's own RenyiELBO differentiates no score under the logarithm, and returns 0 for the
first program here.
"""

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from tests.infer.scripted import Coin, exact, flat, moments, parameters, paths
from tests.statistics import POWER, assert_mean, gradients, limit

TOGETHER = {"vectorize_particles": True, "max_plate_nesting": 1}
ONE_BY_ONE = {"vectorize_particles": False, "max_plate_nesting": 1}
ALPHAS = pytest.mark.parametrize("alpha", [0.0, 0.5, -1.0, 2.0])
SIDE_BY_SIDE = pytest.mark.parametrize("how", [TOGETHER, ONE_BY_ONE])
data = torch.tensor([1.2, -0.4], dtype=torch.float64)


def one_coin(coin=Coin):
    """A coin, with a parameter in the model as well."""

    def model():
        z = pyro.sample("z", dist.Bernoulli(0.3))
        w = pyro.param("w", torch.tensor(2.0).double())
        pyro.sample("x", dist.Normal(w * z, 1.0), obs=data[0])

    def guide():
        pyro.sample("z", coin(logits=pyro.param("l", torch.tensor(0.4).double())))

    return model, guide


def two_coins(coin=Coin):
    """The second coin's parameters depend on the first, which has no observation."""

    def model():
        a = pyro.sample("a", dist.Bernoulli(0.3))
        b = pyro.sample("b", dist.Bernoulli(0.2 + 0.5 * a))
        pyro.sample("x", dist.Normal(2 * b, 1.0), obs=data[0])

    def guide():
        w = pyro.param("w", torch.tensor([0.4, -0.3, 0.8]).double())
        a = pyro.sample("a", coin(logits=w[0]))
        pyro.sample("b", coin(logits=w[1] + w[2] * a))

    return model, guide


def plated(coin=Coin):
    """A coin per observation, in a plate."""

    def model():
        with pyro.plate("data", 2):
            z = pyro.sample("z", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(2 * z, 1.0), obs=data)

    def guide():
        logits = pyro.param("l", torch.tensor([0.4, -0.9]).double())
        with pyro.plate("data", 2):
            pyro.sample("z", coin(logits=logits))

    return model, guide


PROGRAMS = pytest.mark.parametrize("program", [one_coin, two_coins, plated])


def bound(costs, alpha):
    costs = torch.stack(costs)
    weights = torch.logsumexp(-(1 - alpha) * costs, 0) - math.log(len(costs))
    return -weights / (1 - alpha)


def single_paths(model, guide, elements=None):
    """Attached log q and cost of every path of one particle, the cost by element."""

    def run():
        drawn = pyro.poutine.trace(guide).get_trace()
        scored = pyro.poutine.trace(pyro.poutine.replay(model, trace=drawn)).get_trace()
        log_q, cost = 0.0, 0.0
        for trace, sign in ((drawn, 1), (scored, -1)):
            for site in trace.nodes.values():
                if site["type"] == "sample" and hasattr(site["fn"], "log_prob"):
                    if type(site["fn"]).__name__ == "_Subsample":
                        continue
                    density = site["fn"].log_prob(site["value"])
                    cost = cost + sign * (density if elements else density.sum())
                    if trace is drawn:
                        log_q = log_q + density.sum()
        return log_q, cost

    return [result for _, result in paths(run)]


def exact_bound(program, particles, alpha, elements=None):
    """The exact loss and its gradient, by all tuples of paths."""
    model, guide = program
    total = 0.0
    for chosen in itertools.product(
        single_paths(model, guide, elements), repeat=particles
    ):
        log_q = sum(q for q, _ in chosen)
        total = total + log_q.exp() * bound([c for _, c in chosen], alpha).sum()
    found = torch.autograd.grad(total, parameters(), allow_unused=True)
    return flat(found), total.item()


def start(program):
    model, guide = program()
    pyro.clear_param_store()
    guide()
    pyro.poutine.trace(model).get_trace()
    return model, guide


@PROGRAMS
@ALPHAS
@pytest.mark.parametrize("particles", [1, 2, 3])
@SIDE_BY_SIDE
def test_exact_over_all_tuples_of_paths(program, alpha, particles, how):
    if particles == 3 and program is plated:
        particles = 2  # 64 paths of three particles tell no more
    pair = start(program)
    want, loss = exact_bound(pair, particles, alpha)
    objective = pg.RenyiELBO(
        alpha,
        particles,
        **how,
        estimators="score_function",
    )
    found = moments(objective, *pair)
    torch.testing.assert_close(found.mean, want)
    assert found.loss == pytest.approx(loss)


@pytest.mark.parametrize(
    "baseline", ["leave_one_out", "moving_average", "neural", None]
)
def test_every_baseline_is_exact(baseline):
    pair = start(two_coins)
    want, _ = exact_bound(pair, 2, 0.0)

    class Fresh:
        """Nothing is learnt from one path for another."""

        def loss_and_grads(self, *pair):
            estimator = pg.estimator("score_function", baseline=baseline)
            objective = pg.IWELBO(
                2,
                **TOGETHER,
                estimators=estimator,
            )
            torch.manual_seed(0)
            return objective.loss_and_grads(*pair)

    names = set(pyro.get_param_store().keys())

    def run():
        for name in set(pyro.get_param_store().keys()) - names:
            del pyro.get_param_store()[name]
        for parameter in parameters():
            parameter.grad = None
        Fresh().loss_and_grads(*pair)
        return torch.cat(
            [pyro.get_param_store()._params[n].grad.reshape(-1) for n in sorted(names)]
        )

    mean = sum(p * gradient for p, gradient in paths(run))
    torch.testing.assert_close(mean, want)


def test_no_baseline_has_seen_the_other_particles_share_of_the_bound():
    """One after another, they are all told of the same bound."""
    pair = start(one_coin)
    want, _ = exact_bound(pair, 2, 0.0)

    class Fresh:
        """Nothing is learnt from one path for another."""

        def loss_and_grads(self, *pair):
            last = pg.core.baselines.MovingAverage(decay=0.0)
            estimator = pg.estimator("score_function", baseline=last)
            objective = pg.IWELBO(2, **ONE_BY_ONE, estimators=estimator)
            return objective.loss_and_grads(*pair)

    torch.testing.assert_close(moments(Fresh(), *pair).mean, want)


def test_the_default_baseline_is_vimcos():
    pair = start(one_coin)

    def variance(baseline):
        estimator = pg.estimator("score_function", baseline=baseline)
        objective = pg.IWELBO(3, **TOGETHER, estimators=estimator)
        return moments(objective, *pair).variance[0]

    assert variance("default") == variance("leave_one_out") < 0.4 * variance(None)


def test_a_path_equals_vimco_written_by_hand():
    pair = start(one_coin)
    objective = pg.IWELBO(
        3, vectorize_particles=True, max_plate_nesting=0, estimators="score_function"
    )
    logit = pyro.get_param_store()._params["l"]

    def ours():
        logit.grad = None
        pyro.get_param_store()._params["w"].grad = None
        drawn = {}

        def noting(fn):
            def run():
                with pyro.poutine.trace() as trace:
                    fn()
                drawn.update(trace.trace.nodes)

            return run

        objective.loss_and_grads(pair[0], noting(pair[1]))
        return logit.grad.clone(), drawn["z"]["value"].reshape(-1)

    def by_hand(z):
        law = dist.Bernoulli(logits=logit)
        log_q = law.log_prob(z)
        cost = log_q - dist.Bernoulli(0.3).log_prob(z)
        cost = cost - dist.Normal(2 * z, 1.0).log_prob(data[0])
        loss = bound(list(cost), 0.0)
        surrogate = loss
        for k in range(3):
            others = [c for i, c in enumerate(cost.detach()) if i != k]
            without = bound([*others, sum(others) / 2], 0.0)
            surrogate = surrogate + (loss - without).detach() * log_q[k]
        return torch.autograd.grad(surrogate, logit)[0]

    count = 0
    for _, (found, z) in paths(ours):
        torch.testing.assert_close(found, by_hand(z))
        count += 1
    assert count == 8


@ALPHAS
def test_a_bound_for_every_element_of_a_plate(alpha):
    pair = start(plated)
    want, loss = exact_bound(pair, 2, alpha, elements=True)
    objective = pg.RenyiELBO(
        alpha,
        2,
        **TOGETHER,
        plate="data",
        estimators="score_function",
    )
    found = moments(objective, *pair)
    torch.testing.assert_close(found.mean, want)
    assert found.loss == pytest.approx(loss)
    whole = moments(
        pg.RenyiELBO(
            alpha,
            2,
            **TOGETHER,
            estimators="score_function",
        ),
        *pair,
    )
    if alpha < 1:
        assert found.loss < whole.loss  # tighter


def test_the_elements_of_a_subsample_count_for_all():
    pair = start(plated)
    want, loss = exact_bound(pair, 2, 0.0, elements=True)
    scaled = tuple(pyro.poutine.scale(fn, scale=3.0) for fn in pair)
    objective = pg.IWELBO(
        2,
        **TOGETHER,
        plate="data",
        estimators="score_function",
    )
    found = moments(objective, *scaled)
    torch.testing.assert_close(found.mean, 3 * want)
    assert found.loss == pytest.approx(3 * loss)


def test_one_particle_is_the_elbo():
    pair = start(two_coins)
    want, loss = exact(*pair)
    found = moments(pg.IWELBO(1, 1, estimators="score_function"), *pair)
    torch.testing.assert_close(found.mean, want)
    assert found.loss == pytest.approx(loss)


# Paths


NOISE = torch.tensor([0.3, -1.1, 0.8], dtype=torch.float64)


class Frozen(dist.Normal):
    """A Normal whose noise is told, so that means over coins are exact."""

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.loc + self.scale * NOISE[: shape.numel()].reshape(shape)


def mixed(normal):
    def model():
        z = pyro.sample("z", dist.Bernoulli(0.3))
        w = pyro.sample("w", dist.Normal(2 * z, 1.0))
        pyro.sample("x", dist.Normal(w, 0.7), obs=data[0])

    def guide():
        m = pyro.param("m", torch.tensor([0.2, 1.1]).double())
        s = pyro.param("s", torch.tensor(0.8).double())
        coin = Coin(logits=pyro.param("l", torch.tensor(0.4).double()))
        z = pyro.sample("z", coin)
        pyro.sample("w", normal(m[0] + (m[1] - m[0]) * z, s))

    return model, guide


@ALPHAS
def test_a_score_and_a_path_under_one_logarithm(alpha):
    pair = start(lambda: mixed(Frozen))
    logit, m, s = (pyro.get_param_store()._params[n] for n in ("l", "m", "s"))
    law, total = dist.Bernoulli(logits=logit), 0.0
    for zs in itertools.product([0.0, 1.0], repeat=3):
        z = torch.tensor(zs, dtype=torch.float64)
        loc = m[0] + (m[1] - m[0]) * z
        w = loc + s * NOISE
        cost = law.log_prob(z) + dist.Normal(loc, s).log_prob(w)
        cost = cost - dist.Bernoulli(0.3).log_prob(z)
        cost = cost - dist.Normal(2 * z, 1.0).log_prob(w)
        cost = cost - dist.Normal(w, 0.7).log_prob(data[0])
        total = total + law.log_prob(z).sum().exp() * bound(list(cost), alpha)
    want = flat(torch.autograd.grad(total, parameters()))
    objective = pg.RenyiELBO(alpha, 3, **TOGETHER)
    torch.testing.assert_close(moments(objective, *pair).mean, want)


def gaussian():
    """A Normal latent and a parameter of the model."""

    def model():
        theta = pyro.param("theta", torch.tensor(0.5).double())
        z = pyro.sample("z", dist.Normal(theta, 1.0))
        pyro.sample("x", dist.Normal(z, 0.7), obs=data[0])

    def guide():
        m = pyro.param("m", torch.tensor(0.2).double())
        s = pyro.param("s", torch.tensor(0.8).double())
        pyro.sample("z", dist.Normal(m, s))

    return model, guide


@ALPHAS
@SIDE_BY_SIDE
def test_doubly_reparameterized_equals_dreg_written_by_hand(alpha, how):
    pair = start(gaussian)
    m, s, theta = (pyro.get_param_store()._params[n] for n in ("m", "s", "theta"))
    torch.manual_seed(3)
    objective = pg.RenyiELBO(
        alpha,
        4,
        **how,
        estimators="doubly_reparameterized",
    )
    objective.loss_and_grads(*pair)
    found = flat([p.grad for p in parameters()])
    torch.manual_seed(3)
    eps = (
        torch.randn(4, dtype=torch.float64)
        if how is TOGETHER
        else torch.stack([torch.randn((), dtype=torch.float64) for _ in range(4)])
    )
    z = m + s * eps
    held = dist.Normal(m.detach(), s.detach())
    cost = held.log_prob(z) - dist.Normal(theta, 1.0).log_prob(z)
    cost = cost - dist.Normal(z, 0.7).log_prob(data[0])
    weight = torch.softmax(-(1 - alpha) * cost.detach(), 0)
    along = (alpha * weight + (1 - alpha) * weight**2) @ cost
    guide_part = torch.autograd.grad(along, [m, s], retain_graph=True)
    model_part = torch.autograd.grad(weight @ cost, theta)
    want = torch.stack([*guide_part, *model_part])
    torch.testing.assert_close(found, want)


def gradient_of_a_step(objective, model, guide):
    for parameter in parameters():
        parameter.grad = None
    torch.manual_seed(3)
    objective.loss_and_grads(model, guide)
    return flat([p.grad for p in parameters()])


@ALPHAS
@SIDE_BY_SIDE
def test_a_bound_on_scaled_costs_is_a_scaled_bound_of_another_order(alpha, how):
    model, guide = start(gaussian)
    scale = pyro.poutine.scale
    scaled = scale(model, scale=0.3), scale(guide, scale=0.3)
    one = pg.RenyiELBO(alpha, 4, **how, estimators="doubly_reparameterized")
    other_order = 1 - 0.3 * (1 - alpha)
    other = pg.RenyiELBO(other_order, 4, **how, estimators="doubly_reparameterized")
    found = gradient_of_a_step(one, *scaled)
    want = 0.3 * gradient_of_a_step(other, model, guide)
    torch.testing.assert_close(found, want)


@pytest.mark.parametrize("how", ["law", "handler", "left out"])
def test_a_masked_log_q_has_no_direct_gradient_for_the_path(how):
    no = torch.tensor(False)

    def sample(law):
        if how == "law":
            return pyro.sample("z", law.mask(no))
        with pyro.poutine.mask(mask=no if how == "handler" else False):
            return pyro.sample("z", law)

    def model():
        z = sample(dist.Normal(torch.tensor(0.5).double(), 1.0))
        pyro.sample("x", dist.Normal(z, 0.7), obs=data[0])

    def guide():
        sample(dist.Normal(pyro.param("m", torch.tensor(0.2).double()), 0.8))

    pyro.clear_param_store()
    guide()
    found, want = (
        gradient_of_a_step(pg.IWELBO(4, **TOGETHER, estimators=name), model, guide)
        for name in ("doubly_reparameterized", "reparameterized")
    )
    torch.testing.assert_close(found, want)


@pytest.mark.parametrize("objective", ["elbo", "iwelbo"])
def test_no_noise_where_the_guide_is_the_posterior(objective):
    def model():
        z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=data)

    def guide():
        m = pyro.param("m", data / 2)
        s = pyro.param("s", torch.full((2,), 0.5**0.5, dtype=torch.float64))
        pyro.sample("z", dist.Normal(m, s).to_event(1))

    pyro.clear_param_store()
    guide()
    kind = pg.ELBO if objective == "elbo" else pg.IWELBO
    loss = kind(
        num_particles=3,
        vectorize_particles=True,
        max_plate_nesting=0,
        estimators="doubly_reparameterized",
    )
    for _ in range(5):
        loss.loss_and_grads(model, guide)
        assert flat([p.grad for p in parameters()]).abs().max() < 1e-9


def test_the_elbos_path_alone_is_unbiased():
    pair = start(gaussian)
    elbo = pg.ELBO(
        num_particles=64,
        vectorize_particles=True,
        max_plate_nesting=0,
        estimators="doubly_reparameterized",
    )
    m, s, theta = (pyro.get_param_store()._params[n] for n in ("m", "s", "theta"))
    precision = 1 / 0.49
    want = torch.stack(
        [
            (m - theta) + (m - data[0]) * precision,
            s + s * precision - 1 / s,
            theta - m,
        ]
    )
    found = gradients(lambda: elbo.differentiable_loss(*pair), [m, s, theta], 400)
    assert_mean(found, want)


REPLICATES = 4000


def chain(replicates=REPLICATES):
    """Two Normals in a row, many times over, each with parameters of its own."""
    start = torch.tensor([-1.0, 0.6, 0.3], dtype=torch.float64)

    def model():
        with pyro.plate("replicates", replicates):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(a, 1.0))
            pyro.sample("x", dist.Normal(b, 0.7), obs=data[0].expand(replicates))

    def guide():
        w = pyro.param("w", start.repeat(replicates, 1))
        with pyro.plate("replicates", replicates):
            a = pyro.sample("a", dist.Normal(w[:, 0], 0.9))
            pyro.sample("b", dist.Normal(w[:, 1] + w[:, 2] * a, 0.8))

    return model, guide


def replicated(estimators, calls, warm=0):
    """Independent gradients of the bounds of all replicates, ``(samples, 3)``."""
    pair = start(chain)
    objective = pg.IWELBO(4, **TOGETHER, plate="replicates", estimators=estimators)
    (w,) = parameters()
    torch.manual_seed(0)
    found = []
    for _ in range(warm + calls):
        found.append(torch.autograd.grad(objective.differentiable_loss(*pair), w)[0])
    return torch.cat(found[warm:])


@pytest.fixture(scope="module")
def pathwise():
    return replicated("reparameterized", 50)


@pytest.mark.parametrize(
    "estimators",
    [
        {"b": "doubly_reparameterized"},
        {"a": "doubly_reparameterized"},
        {"b": "hybrid"},
        {"a": "hybrid", "b": "doubly_reparameterized"},
        {"a": "score_function"},
        {"a": "lax", "b": "reparameterized"},
    ],
    ids=str,
)
def test_a_chain_has_one_gradient_whatever_the_estimators(estimators, pathwise):
    found = replicated(estimators, 30, warm=2)
    error = (found.var(0) / len(found) + pathwise.var(0) / len(pathwise)).sqrt()
    off = (found.mean(0) - pathwise.mean(0)).abs()
    assert (off < limit(3) * error).all()
    assert (POWER * error < 0.1 * pathwise.mean(0).norm()).all()


# Refusals


@pytest.mark.parametrize("estimator", ["enumerate"])
def test_rows_are_refused(estimator):
    pair = start(lambda: one_coin(dist.Bernoulli))
    with pytest.raises(pg.PgpluginsError, match=rf"'{estimator}'.*'z'.*score_function"):
        pg.IWELBO(4, **TOGETHER, estimators=estimator).loss(*pair)


def test_two_paths_that_would_be_weighted_twice_are_refused():
    pair = start(lambda: chain(3))
    objective = pg.IWELBO(4, estimators="doubly_reparameterized")
    with pytest.raises(pg.PgpluginsError, match=r"'b' depend on site 'a'.*\"repara"):
        objective.loss_and_grads(*pair)
    # Neither objects to the other on an ELBO, nor beside it.
    pg.ELBO(estimators="doubly_reparameterized").loss_and_grads(*pair)


def test_a_score_whose_parameters_depend_on_a_weighted_path_is_refused():
    """Weights of the path are not independent of the draw that the score is of."""

    def model():
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        b = pyro.sample("b", dist.Bernoulli(0.3))
        pyro.sample("x", dist.Normal(a + 3 * b, 0.5), obs=data[0])

    def guide():
        a = pyro.sample("a", dist.Normal(pyro.param("m", torch.tensor(0.5)), 0.8))
        pyro.sample("b", dist.Bernoulli(logits=2.5 * a))

    pyro.clear_param_store()
    estimators = {"a": "doubly_reparameterized", "b": "score_function"}
    with pytest.raises(pg.PgpluginsError, match=r"'b' depend on site 'a'.*\"repara"):
        pg.IWELBO(3, estimators=estimators).loss_and_grads(model, guide)


def test_masks_inside_of_an_event_are_refused_on_a_weighted_path():
    def model():
        pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    def guide():
        m = pyro.param("m", torch.zeros(2))
        mask = torch.tensor([True, False])
        pyro.sample("z", dist.Normal(m, 1.0).mask(mask).to_event(1))

    pyro.clear_param_store()
    objective = pg.IWELBO(3, estimators="doubly_reparameterized")
    with pytest.raises(pg.PgpluginsError, match=r"'z' masks.*mask after to_event"):
        objective.loss_and_grads(model, guide)


def test_a_masked_site_outside_of_the_plate_has_no_bound_either():
    def switch(probs):
        with pyro.poutine.mask(mask=False):
            pyro.sample("a", dist.Bernoulli(probs))

    def model():
        switch(0.5)
        with pyro.plate("data", 2):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    def guide():
        switch(pyro.param("p", torch.tensor(0.5)))
        with pyro.plate("data", 2):
            pyro.sample("z", dist.Normal(0.3, 1.0))

    pyro.clear_param_store()
    objective = pg.IWELBO(2, **TOGETHER, plate="data")
    with pytest.raises(pg.PgpluginsError, match=r"'a' is outside of plate 'data'"):
        objective.loss_and_grads(model, guide)


def test_what_elements_share_has_no_bound_of_an_element():
    def model():
        pyro.sample("shared", dist.Normal(0.0, 1.0))
        plated()[0]()

    def guide():
        pyro.sample("shared", dist.Normal(0.0, 1.0))
        plated(dist.Bernoulli)[1]()

    pyro.clear_param_store()
    objective = pg.IWELBO(2, **TOGETHER, plate="data")
    with pytest.raises(pg.PgpluginsError, match="'shared' is outside of plate 'data'"):
        objective.loss(model, guide)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": 1}, "pg.ELBO"),
        ({"alpha": math.inf}, "finite"),
        ({"alpha": "half"}, "alpha='half'"),
        ({"num_particles": 0}, "num_particles=0"),
        ({"plate": 3}, "plate=3"),
        ({"plate": "data"}, "vectorize_particles=True"),
    ],
)
def test_arguments_that_cannot_be_used(options, words):
    with pytest.raises(pg.PgpluginsError, match=words):
        pg.RenyiELBO(**options)


def test_a_cost_that_is_not_finite_is_named():
    def model():
        z = pyro.sample("z", dist.Bernoulli(0.3))
        pyro.sample("x", dist.Normal(2 * z, 1.0), obs=torch.tensor(math.inf))

    _, guide = one_coin(dist.Bernoulli)
    pyro.clear_param_store()
    with pytest.raises(pg.PgpluginsError, match="site 'x'"):
        pg.IWELBO(2).loss(model, guide)


def half_impossible():
    """Heads cannot have been: the model has no density there."""

    def model():
        z = pyro.sample("z", dist.Bernoulli(0.3))
        pyro.factor("no_heads", torch.where(z == 1, -math.inf, 0.0))

    return model, one_coin(dist.Bernoulli)[1]


@SIDE_BY_SIDE
@pytest.mark.parametrize("alpha", [0.0, 0.5, -1.0])
def test_a_particle_of_weight_zero_makes_the_bound_infinite_and_says_so(how, alpha):
    """With two coins it is finite in three of four cases, and infinite in the mean."""
    model, _ = half_impossible()
    pair = start(lambda: (model, one_coin()[1]))
    _, loss = exact_bound(pair, 2, alpha)
    assert loss == math.inf

    model, guide = half_impossible()
    objective = pg.RenyiELBO(alpha, 8, **how)
    torch.manual_seed(0)
    with pytest.raises(pg.errors.NotFiniteError) as caught:
        objective.loss_and_grads(model, guide)
    said = str(caught.value)
    assert "of 8 weights p / q are zero, from site 'no_heads'" in said
    assert "minus infinity however many" in said


def test_a_mistyped_plate_is_told_from_a_site_outside_of_it():
    model, guide = start(lambda: plated(dist.Bernoulli))
    with pytest.raises(pg.errors.ProgramError) as caught:
        pg.IWELBO(2, **TOGETHER, plate="dta").loss(model, guide)
    assert str(caught.value) == (
        "plate='dta': the program has no vectorized plate of that name. "
        "Did you mean 'data'? Plates: 'data'."
    )
    model, guide = start(lambda: one_coin(dist.Bernoulli))
    with pytest.raises(pg.errors.ProgramError, match=r"that name\. Plates: none"):
        pg.IWELBO(2, **TOGETHER, plate="data").loss(model, guide)


def test_a_bound_that_joins_particles_has_no_parts_by_site():
    model, guide = start(lambda: one_coin(dist.Bernoulli))
    with pytest.raises(pg.PgpluginsError, match=r"IWELBO.*write a pg\.ELBO"):
        pg.explain((model, guide, ()), elbo=pg.IWELBO(2))
