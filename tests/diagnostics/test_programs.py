"""Compare on models with guides and on programs with costs."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pgplugins.diagnostics.comparison import compare
from pgplugins.errors import EstimatorError, InputError, InputTypeError
from pgplugins.infer.cost import cost
from pgplugins.infer.elbo import ELBO
from pgplugins.plugins import estimator


@pytest.fixture(autouse=True)
def empty_store():
    with pyro.get_param_store().scope():
        yield


def conjugate_model(x):
    z = pyro.sample("z", dist.Normal(0.0, 1.0))
    pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def normal_guide(x):
    loc = pyro.param("loc", torch.tensor(0.3))
    scale = pyro.param("scale", torch.tensor(0.6), constraint=dist.constraints.positive)
    pyro.sample("z", dist.Normal(loc, scale))


X = torch.tensor(1.2)
# d loc: loc - (x - loc) / 0.25; d log scale: scale^2 (1 + 1 / 0.25) - 1.
GRADIENT = {
    "loc": torch.tensor(0.3 - (1.2 - 0.3) / 0.25),
    "scale": torch.tensor(0.6**2 * 5 - 1),
}


def test_an_elbo_is_compared_against_its_closed_form():
    result = compare(
        (conjugate_model, normal_guide, (X,)),
        ["score_function", "reparameterized"],
        num_particles=8,
        reference=GRADIENT,
        num_runs=300,
        num_warmup=5,
        seed=0,
    )
    assert result.objective == "conjugate_model"
    assert all(abs(row.bias_z) < 4.5 for row in result.rows)
    # Pathwise, z = loc + scale eps: the path of log q cancels, that of -log p has the
    # slope 5 z - 4 x = slope + curve eps for loc, times scale eps for log scale.
    slope, curve = 5 * 0.3 - 4 * 1.2, 5 * 0.6
    want = (curve**2 + 0.6**2 * (slope**2 + 2 * curve**2)) / 8
    assert result.rows[1].variance == pytest.approx(want, rel=0.35)


def test_the_template_decides_about_particles_and_the_entry_about_estimators():
    template = ELBO(
        num_particles=32, vectorize_particles=True, estimators="score_function"
    )
    options = {"num_runs": 200, "num_warmup": 5, "seed": 0, "reference": GRADIENT}
    objective = (conjugate_model, normal_guide, (X,))
    many = compare(objective, ["reparameterized"], elbo=template, **options)
    one = compare(objective, ["reparameterized"], **options)
    assert one.rows[0].variance / many.rows[0].variance == pytest.approx(32, rel=0.5)
    with pytest.raises(InputError, match="met"):
        template.estimator_of("z")


def test_a_discrete_program_is_referred_to_enumeration():
    logit = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def bandit():
        arm = pyro.sample("arm", dist.Bernoulli(logits=logit))
        cost("loss", 2 * arm)

    result = compare(
        bandit,
        ["score_function"],
        params={"logit": logit},
        num_particles=4,
        num_runs=200,
        num_warmup=5,
        seed=0,
    )
    theta = torch.sigmoid(logit).item()
    assert "enumeration" in result.reference
    assert abs(result.rows[0].bias_z) < 4.5
    assert result.rows[0].snr == pytest.approx(
        2 * theta * (1 - theta) / result.rows[0].variance ** 0.5
    )


def test_a_program_that_cannot_be_enumerated_is_sampled():
    logit = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def bandit():
        arm = pyro.sample("arm", dist.Bernoulli(logits=logit))
        if arm.numel() > 2:
            raise RuntimeError("not written for enumeration")
        cost("loss", 2 * arm)

    result = compare(
        bandit,
        ["score_function"],
        params={"logit": logit},
        num_particles=2,
        num_runs=40,
        num_warmup=5,
        seed=0,
    )
    assert "score_function" in result.reference


def test_parameters_are_those_that_the_program_meets():
    pyro.param("stranger", torch.tensor(0.0))

    def program():
        loc = pyro.param("loc", torch.tensor(1.0))
        cost("square", pyro.sample("x", dist.Normal(loc, 1.0)) ** 2)

    result = compare(
        program,
        ["reparameterized"],
        reference={"loc": torch.tensor(2.0)},
        num_runs=100,
        num_warmup=5,
        seed=0,
    )
    assert abs(result.rows[0].bias_z) < 4.5


def test_networks_of_baselines_do_not_stay_in_the_store():
    compare(
        (conjugate_model, normal_guide, (X,)),
        [estimator("score_function", baseline="neural")],
        num_runs=20,
        num_warmup=2,
        reference=GRADIENT,
        seed=0,
    )
    assert set(pyro.get_param_store()) == {"loc", "scale"}


def mixed_model():
    z = pyro.sample("z", dist.Bernoulli(0.4))
    pyro.sample("w", dist.Normal(2 * z, 2.0))


def mixed_guide():
    z = pyro.sample("z", dist.Bernoulli(logits=pyro.param("l", torch.tensor(0.1))))
    loc = pyro.param("m", torch.tensor([0.0, 1.0]))
    pyro.sample("w", dist.Normal(loc[z.long()], 1.0))


def mixed_gradient():
    """KL of N(m_z, 1) from N(2 z, 4): more by 1/8 for z = 1 than for z = 0."""
    logit = torch.tensor(0.1, dtype=torch.float64)
    q = torch.sigmoid(logit)
    slope = 1 / 8 + (q / 0.4).log() - ((1 - q) / 0.6).log()
    return {"l": q * (1 - q) * slope, "m": torch.stack([0 * q, -q / 4])}


def test_estimators_are_chosen_by_site():
    by_site = {"z": "enumerate", "w": "score_function"}
    result = compare(
        (mixed_model, mixed_guide, ()),
        {
            "defaults": None,
            "z enumerated": {"z": "enumerate"},
            "both": by_site,
            "by type": {dist.Bernoulli: "enumerate", "w": "score_function"},
        },
        elbo=ELBO(num_particles=8, vectorize_particles=True, max_plate_nesting=0),
        reference=mixed_gradient(),
        num_runs=400,
        num_warmup=20,
        seed=0,
    )
    rows = {row.estimator: row for row in result.rows}
    assert all(abs(row.bias_z) < 4.5 and row.unbiased for row in rows.values())
    # With 1,000 runs: 0.0204 by default, 0.0088 with z enumerated, 0.103 with both.
    assert rows["z enumerated"].variance < 0.8 * rows["defaults"].variance
    assert rows["both"].variance > 1.5 * rows["z enumerated"].variance
    assert rows["by type"].variance == pytest.approx(rows["both"].variance, rel=0.4)
    (alone,) = compare(
        (mixed_model, mixed_guide, ()), [by_site], num_runs=20, seed=0
    ).rows
    assert alone.estimator == "z: enumerate, w: score_function"


def test_one_biased_site_makes_a_biased_row():
    options = {"reference": mixed_gradient(), "num_runs": 20, "seed": 0}
    pair = (mixed_model, mixed_guide, ())
    honest, biased = compare(
        pair, [{"z": "enumerate"}, {"z": "straight_through"}], **options
    ).rows
    assert honest.unbiased and not biased.unbiased


def test_a_biased_estimator_that_a_site_names_itself_is_no_reference():
    logit = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def program():
        asked = {"estimator": "straight_through"}
        b = pyro.sample("b", dist.Bernoulli(logits=logit), infer=asked)
        x = pyro.sample("x", dist.Normal(logit, 1.0))
        cost("c", (b + x) ** 2)

    options = {"params": {"logit": logit}, "num_runs": 20, "seed": 0}
    with pytest.raises(InputError, match="names a biased estimator of its own"):
        compare(program, ["score_function"], **options)
    (row,) = compare(
        program,
        ["score_function"],
        reference={"logit": torch.tensor(1.0)},
        **options,
    ).rows
    assert not row.unbiased


def test_labels_that_are_site_names_are_refused():
    with pytest.raises(InputError, match=r"site names.*\[\{\"z\": \"enumerate\"\}\]"):
        compare((mixed_model, mixed_guide, ()), {"z": "enumerate", "w": "hybrid"})


@pytest.mark.parametrize(
    ("objective", "options", "error", "words"),
    [
        ((conjugate_model, normal_guide, X), {}, InputTypeError, "write a tuple"),
        (
            (conjugate_model, normal_guide, (X,)),
            {"num_particles": 2, "elbo": ELBO()},
            InputError,
            "num_particles does not go",
        ),
        (
            (conjugate_model, normal_guide, (X,)),
            {"num_samples": 2},
            InputError,
            "write num_particles",
        ),
        (
            (conjugate_model, normal_guide, (X,)),
            {"estimators": ["enumerate"]},
            EstimatorError,
            "'z'",
        ),
    ],
)
def test_unusable_settings_are_refused(objective, options, error, words):
    with pytest.raises(error, match=words):
        compare(objective, **({"estimators": ["reparameterized"]} | options))
