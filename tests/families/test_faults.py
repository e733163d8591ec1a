"""What torch and Pyro get wrong, shown without this library, and refused by it.

When a test of a raw gradient fails, the family was mended: take its refusal out of
``pgplugins/families/faults.py``.
"""

import dataclasses
import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from tests.families.catalogue import CATALOGUE
from tests.families.measure import refusal_of
from tests.families.truth import logistic_grid

ROWS = {family.label: family for family in CATALOGUE}


def tensor(x):
    return torch.tensor(x, dtype=torch.float64)


def raw_path(family, samples=4000, calls=40):
    """Means and standard errors of gradients through ``rsample``, by parameter."""
    torch.manual_seed(0)
    found = {name: [] for name in family.start}
    for _ in range(calls):
        values = family.parameters()
        law = family.build(**values)
        x = law.rsample((samples,))
        cost = family.cost(x, len(law.event_shape)).mean()
        slopes = torch.autograd.grad(cost, list(values.values()))
        for name, slope in zip(values, slopes, strict=True):
            found[name].append(slope.flatten())
    stacked = {name: torch.stack(rows) for name, rows in found.items()}
    return {
        name: (rows.mean(0), rows.std(0) / math.sqrt(calls))
        for name, rows in stacked.items()
    }


@pytest.mark.parametrize(
    ("label", "parameter", "by"),
    [
        ("OneHotCategoricalStraightThrough", "logits", 0.1),
        ("RelaxedOneHotCategoricalStraightThrough", "logits", 0.1),
        ("RelaxedBernoulliStraightThrough", "logits", 0.1),
        ("MixtureOfDiagNormals", "component_logits", 0.1),
        ("MixtureOfDiagNormalsSharedCovariance", "component_logits", 0.01),
        ("Rejector", "loc", 0.1),
    ],
)
def test_a_path_that_is_wrong(label, parameter, by):
    width = 0.3 if "StraightThrough" in label else 1.0
    family = dataclasses.replace(ROWS[label], centre=0.4, width=width)
    truth = family.truth(family)[parameter].flatten()
    mean, error = raw_path(family)[parameter]
    off = (mean - truth).abs()
    assert (off > by * truth.abs().max()).any()
    assert (off > 8 * error).any()
    for name in ("reparameterized", "hybrid"):
        assert refusal_of(family, name) is not None


def test_the_path_of_a_mixtures_weights_is_right_on_a_line_through_the_origin():
    """So the reason that is given is the reason."""
    family = ROWS["MixtureOfDiagNormals"]
    start = {
        **family.start,
        "locs": [[0.6, -0.5], [-1.2, 1.0]],
        "coord_scale": [[1.0, 1.0], [1.0, 1.0]],
    }
    moved = dataclasses.replace(family, start=start, centre=0.4, width=1.0)
    truth = family.truth(moved)["component_logits"]
    mean, error = raw_path(moved)["component_logits"]
    assert ((mean - truth).abs() < 5 * error).all()
    assert (0.03 * truth.abs() > 5 * error).all()


def test_straight_through_families_score_what_they_do_not_draw():
    law = ROWS["RelaxedBernoulliStraightThrough"].law()
    assert set(law.rsample((100,)).unique().tolist()) == {0.0, 1.0}
    assert len(law.sample((100,)).unique()) == 100


def test_the_density_of_stable_in_coordinates_s_is_none():
    law = dist.Stable(tensor(1.6), tensor(0.3), coords="S")
    x = torch.linspace(-60, 60, 2_401, dtype=torch.float64)
    total = torch.trapezoid(law.log_prob(x).exp(), x)
    right = dist.Stable(tensor(1.6), tensor(0.3), coords="S0")
    assert abs(torch.trapezoid(right.log_prob(x).exp(), x) - 1) < 0.01
    assert abs(total - 1) > 1


def stable_errors(stability):
    """Relative errors of the score's expectation, without any noise."""
    u, first = logistic_grid(101, 25.0)
    w = torch.linspace(-25.0, 4.5, 61, dtype=torch.float64)
    second = torch.softmax(w - w.exp(), 0)
    angle = (math.pi * (u - 0.5)).unsqueeze(-1)
    values = [tensor(v).requires_grad_() for v in (stability, 0.3, 0.7, 0.2)]
    a, b, scale, loc = values
    tangent = b * torch.tan(math.pi / 2 * a)
    turned = a * angle + torch.atan(tangent)
    z = (1 + tangent**2) ** (0.5 / a) * torch.sin(turned) / torch.cos(angle) ** (1 / a)
    z = z * (torch.cos(angle - turned) / w.exp()) ** (1 / a - 1) - tangent
    x, weight = (loc + scale * z).flatten(), torch.outer(first, second).flatten()
    cost = torch.tanh(x - 1.5)
    truth = torch.stack(torch.autograd.grad(cost @ weight, values))
    cost = (cost - cost @ weight).detach() * weight
    log_prob = dist.Stable(*values).log_prob(x.detach())
    score = torch.stack(torch.autograd.grad(cost @ log_prob, values))
    return (score / truth - 1).abs()


def test_the_score_of_stable_is_off_near_one_and_right_elsewhere():
    assert stable_errors(1.06)[0] > 0.1
    assert stable_errors(1.4).max() < 0.015


def test_a_delta_has_no_score():
    v = tensor(0.7).requires_grad_()
    assert not dist.Delta(v).log_prob(tensor(0.7)).requires_grad


def test_torch_leaves_out_the_path_of_a_continuous_bernoulli_near_one_half():
    family = ROWS["ContinuousBernoulli (probs near 0.5)"]
    mean, _ = raw_path(family, calls=2)["logits"]
    assert not mean.any()
    assert refusal_of(family, "reparameterized") is None  # mended, and measured


def test_what_is_built_on_a_continuous_bernoulli_is_not_mended():
    logits = tensor(0.0).requires_grad_()
    law = dist.TransformedDistribution(
        dist.ContinuousBernoulli(logits=logits), [dist.transforms.ExpTransform()]
    )
    with pytest.raises(pg.PgpluginsError, match="path there is zero"):
        pg.expectation(lambda x: x, law, estimator="reparameterized")


def test_a_generalized_pareto_forgets_a_concentration_of_zero():
    c = torch.tensor(0.0, requires_grad=True)
    law = dist.GeneralizedPareto(torch.tensor(0.1), torch.tensor(0.7), c)
    (slope,) = torch.autograd.grad(law.rsample((100,)).sum(), c)
    assert slope == 0
    (slope,) = torch.autograd.grad(law.log_prob(torch.tensor(1.0)), c)
    assert slope == 0


def test_a_generalized_pareto_has_a_density_in_one_precision():
    law = dist.GeneralizedPareto(tensor(0.1), tensor(0.7), tensor(0.2))
    with pytest.raises(RuntimeError, match="Double did not match Float"):
        law.log_prob(tensor(1.0))
    scale = tensor(0.7).requires_grad_()
    law = dist.GeneralizedPareto(tensor(0.1), scale, tensor(0.2))
    with pytest.raises(pg.PgpluginsError, match=r"no log_prob in torch\.float64"):
        pg.expectation(lambda x: x, law, estimator="score_function")


def test_coalescent_times_ignore_their_rate():
    leaves = tensor([0.0, 0.0])
    means = []
    for rate in (1.0, 9.0):
        torch.manual_seed(0)
        means.append(dist.CoalescentTimes(leaves, tensor(rate)).sample((99,)).mean())
    assert means[0] == means[1]


@pytest.mark.parametrize("label", ["SineSkewed", "SineBivariateVonMises"])
def test_a_sample_that_carries_a_path_is_detached(label):
    family = ROWS[label]
    assert family.law().sample().requires_grad
    seen = []

    def cost(x):
        seen.append(x.requires_grad)
        return x.sum(-1)

    pg.expectation(cost, family.law(), estimator="score_function", num_samples=4)
    assert seen == [False]


def test_expanding_leaves_the_distribution_as_it_was():
    """Pyro's ExpandedDistribution expands in place."""
    law = dist.ExpandedDistribution(dist.Normal(0.0, 1.0), torch.Size([3]))
    loss = pg.expectation(lambda x: x, law, num_samples=5)
    assert loss.shape == law.batch_shape == (3,)


def program(law):
    def guide():
        pyro.sample("z", law())

    def model():
        pyro.sample("z", dist.Normal(0.0, 1.0))

    return model, guide


def parameter(value):
    return pyro.param("p", torch.tensor(value))


@pytest.mark.parametrize(
    ("law", "reason"),
    [
        (
            lambda: dist.RelaxedBernoulliStraightThrough(
                torch.tensor(0.8), logits=parameter(0.3)
            ),
            "straight through the rounding",
        ),
        (
            lambda: dist.Rejector(
                dist.Normal(parameter(0.3), 1.0), torch.zeros_like, torch.tensor(0.0)
            ),
            "only in part",
        ),
        (
            lambda: dist.GeneralizedPareto(0.0, 1.0, parameter(0.0)),
            "concentration of 0",
        ),
    ],
    ids=["straight through", "rejected", "concentration 0"],
)
def test_the_default_of_an_elbo_refuses_a_wrong_path(law, reason):
    with pytest.raises(pg.PgpluginsError, match=f"'z'.*{reason}"):
        pg.ELBO().loss_and_grads(*program(law))


def test_what_a_family_may_do_is_looked_at_in_every_run():
    """A refusal that depends on the parameters is not settled by the first run."""
    model, guide = program(lambda: dist.GeneralizedPareto(0.0, 1.0, parameter(0.2)))
    elbo = pg.ELBO()
    elbo.loss_and_grads(model, guide)
    pyro.get_param_store()["p"] = torch.tensor(0.0)
    with pytest.raises(pg.PgpluginsError, match="concentration of 0"):
        elbo.loss_and_grads(model, guide)


def test_a_plate_does_not_make_a_path_partial():
    """Pyro expands a mixture by drawing again, which leaves the path whole."""
    mask = torch.tensor(True)

    def model():
        with pyro.plate("plate", 3):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    def guide():
        with pyro.plate("plate", 3):
            law = dist.Normal(parameter(0.3), 1.0)
            pyro.sample("z", dist.MaskedMixture(mask, dist.Normal(0.0, 1.0), law))

    torch.manual_seed(0)
    pg.ELBO(num_particles=4000, vectorize_particles=True).loss_and_grads(model, guide)
    assert abs(pyro.param("p").grad.item() - 3 * 0.3) < 0.1
