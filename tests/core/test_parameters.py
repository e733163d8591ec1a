"""A distribution taken apart and rebuilt is the same distribution."""

from contextlib import suppress

import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from pgplugins.core.parameters import parameters_of, with_parameters
from tests.statistics import parameter

P = torch.tensor([0.4, 0.9], dtype=torch.float64)
L = torch.tensor([[1.2, 0.0], [0.3, 0.8]], dtype=torch.float64)
ONE = torch.ones((), dtype=torch.float64)

FAMILIES = {
    "Normal": lambda: dist.Normal(P, P + 1),
    "Normal, broadcast": lambda: dist.Normal(P, ONE),
    "Laplace": lambda: dist.Laplace(P, P + 1),
    "Cauchy": lambda: dist.Cauchy(P, P + 1),
    "StudentT": lambda: dist.StudentT(P + 3, P, P + 1),
    "Exponential": lambda: dist.Exponential(P),
    "Gamma": lambda: dist.Gamma(P + 1, P),
    "Beta": lambda: dist.Beta(P + 1, P + 2),
    "Dirichlet": lambda: dist.Dirichlet(torch.stack([P, P + 1])),
    "LogNormal": lambda: dist.LogNormal(P, P),
    "HalfNormal": lambda: dist.HalfNormal(P),
    "Gumbel": lambda: dist.Gumbel(P, P + 1),
    "Weibull": lambda: dist.Weibull(P + 1, P + 2),
    "to_event": lambda: dist.Normal(torch.stack([P, P]), ONE).to_event(1),
    "expand": lambda: dist.Normal(P[0], P[1]).expand([3, 2]),
    "expand then to_event": lambda: dist.Gamma(P[0], P[1]).expand([3, 2]).to_event(2),
    "MultivariateNormal(scale_tril)": lambda: dist.MultivariateNormal(P, scale_tril=L),
    "MultivariateNormal(covariance)": lambda: dist.MultivariateNormal(P, L @ L.T),
    "MultivariateNormal(precision)": lambda: dist.MultivariateNormal(
        P, precision_matrix=L @ L.T
    ),
    "MultivariateNormal.expand": lambda: dist.MultivariateNormal(
        P, scale_tril=L
    ).expand([3]),
    "LowRankMultivariateNormal": lambda: dist.LowRankMultivariateNormal(
        P, P[:, None], P
    ),
    "TransformedDistribution": lambda: dist.TransformedDistribution(
        dist.Normal(P, P + 1), [dist.transforms.TanhTransform()]
    ),
    "TransformedDistribution, affine": lambda: dist.TransformedDistribution(
        dist.Normal(0 * ONE, ONE),
        [dist.transforms.AffineTransform(P, P), dist.transforms.ExpTransform()],
    ),
    "RelaxedBernoulli": lambda: dist.RelaxedBernoulli(0.8 * ONE, logits=P),
    "VonMises": lambda: dist.VonMises(P, P + 1),
    "MultivariateStudentT": lambda: dist.MultivariateStudentT(6 * ONE, P, L),
    "AsymmetricLaplace": lambda: dist.AsymmetricLaplace(P, P, P),
    "SoftLaplace": lambda: dist.SoftLaplace(P, P),
    "torch's own": lambda: torch.distributions.Independent(
        torch.distributions.Normal(P, ONE), 1
    ),
    "Bernoulli(probs)": lambda: dist.Bernoulli(probs=P),
    "Bernoulli(logits)": lambda: dist.Bernoulli(logits=P),
    "Categorical(logits)": lambda: dist.Categorical(logits=torch.stack([P, -P])),
    "Poisson": lambda: dist.Poisson(P),
}


def draw(law):
    torch.manual_seed(3)
    return law.rsample() if law.has_rsample else law.sample()


@pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)
def test_the_rebuilt_draws_and_scores_alike(make):
    law = make()
    again = with_parameters(law, parameters_of(law))
    assert (again.batch_shape, again.event_shape) == (law.batch_shape, law.event_shape)
    value = draw(law)
    torch.testing.assert_close(draw(again), value)
    torch.testing.assert_close(again.log_prob(value), law.log_prob(value))


@pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)
def test_parameters_start_with_the_batch(make):
    law = make()
    for value in parameters_of(law).values():
        assert value.shape[: len(law.batch_shape)] == law.batch_shape


@pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)
def test_gradients_reach_the_parameters_through_the_copy(make):
    law = make()
    leaves = {k: v.clone().requires_grad_() for k, v in parameters_of(law).items()}
    again = with_parameters(law, leaves)
    value = draw(law).detach()
    density = again.log_prob(value).sum()
    # The family's own parameters may sit in a transform, which stays as it is.
    got = (
        torch.autograd.grad(density, list(leaves.values()), allow_unused=True)
        if density.requires_grad
        else [None] * len(leaves)
    )
    step = 1e-6
    for (key, leaf), gradient in zip(leaves.items(), got, strict=True):
        if key == "scale_tril":  # a step above the diagonal leaves the family
            direction = torch.randn_like(leaf).tril()
        else:
            direction = torch.randn_like(leaf)
        ahead, behind = (
            with_parameters(law, {**leaves, key: leaf + s * step * direction})
            .log_prob(value)
            .sum()
            for s in (1, -1)
        )
        along = 0.0 if gradient is None else (gradient * direction).sum().item()
        assert along == pytest.approx((ahead - behind).item() / (2 * step), rel=1e-4)


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (lambda: dist.Bernoulli(logits=P), {"logits"}),
        (lambda: dist.Bernoulli(probs=P), {"probs"}),
        (lambda: dist.Categorical(logits=P), {"logits"}),
        (lambda: dist.Binomial(3, probs=P), {"probs"}),
        (lambda: dist.Geometric(probs=P), {"probs"}),
        (lambda: dist.Geometric(logits=P), {"logits"}),
        (lambda: dist.NegativeBinomial(3 * ONE, logits=P), {"total_count", "logits"}),
        (lambda: dist.OneHotCategorical(probs=P), {"logits"}),
        (lambda: dist.RelaxedBernoulli(0.8 * ONE, logits=P).base_dist, {"logits"}),
    ],
)
def test_what_was_derived_from_a_parameter_is_not_one(make, given):
    for look in ("probs", "logits", "mean"):
        law = make()
        before = parameters_of(law).keys()
        with suppress(NotImplementedError):
            getattr(law, look)
        assert parameters_of(law).keys() >= given
        assert parameters_of(law).keys() == before
        assert not {"probs", "logits"} <= parameters_of(law).keys()


def test_a_batch_of_parameters_per_row_keeps_rows_apart():
    law = dist.Normal(parameter(0.3, 0.4), ONE).expand([5, 2])
    rows = {
        k: v.detach().clone().requires_grad_() for k, v in parameters_of(law).items()
    }
    value = with_parameters(law, rows).rsample()
    (got,) = torch.autograd.grad((value**2)[3].sum(), rows["loc"])
    want = torch.zeros(5, 2, dtype=torch.float64)
    want[3] = 2 * value.detach()[3]
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in FAMILIES
        if n.startswith(("MultivariateNormal", "MultivariateStudent"))
    ],
)
def test_a_draw_does_not_move_with_what_the_density_ignores(name):
    law = FAMILIES[name]()
    leaves = {k: v.clone().requires_grad_() for k, v in parameters_of(law).items()}
    value = with_parameters(law, leaves).rsample()
    (path,) = torch.autograd.grad((value**2).sum(), leaves["scale_tril"])
    assert torch.equal(path, path.tril())
    assert path.tril().any()


def test_a_distribution_that_hides_its_parameters_is_refused():
    hidden = dist.Empirical(torch.zeros(3), torch.zeros(3))
    with pytest.raises(pg.PgpluginsError, match=r"Empirical.*reparameterized"):
        parameters_of(hidden)


class Stubborn(torch.distributions.Normal):
    def __init__(self, loc, scale, tag):
        super().__init__(loc, scale)


def test_a_distribution_that_cannot_be_rebuilt_is_refused():
    law = Stubborn(torch.zeros(2), torch.ones(2), tag="x")
    with pytest.raises(pg.PgpluginsError, match=r"Stubborn.*rebuilt.*score_function"):
        with_parameters(law, parameters_of(law))


@pytest.mark.parametrize(
    ("law", "setting"),
    [
        (dist.Stable(1.4, 0.3, coords="S"), "coords"),
        (dist.ContinuousBernoulli(torch.tensor(0.3), lims=(0.4, 0.6)), "_lims"),
    ],
    ids=["coords", "lims"],
)
def test_settings_survive(law, setting):
    """They have defaults, so that nothing would have told of their loss."""
    rebuilt = with_parameters(law, parameters_of(law))
    assert getattr(rebuilt, setting) == getattr(law, setting)


def test_a_constructor_without_validation_is_served():
    law = dist.MixtureOfDiagNormals(torch.zeros(2, 2), torch.ones(2, 2), torch.zeros(2))
    rebuilt = with_parameters(law, parameters_of(law))
    assert rebuilt.batch_shape == law.batch_shape


def test_a_constructor_that_asserts_is_refused():
    law = dist.GaussianScaleMixture(torch.ones(2), torch.zeros(2), torch.ones(2))
    values = {k: v.expand(3, 2) for k, v in parameters_of(law).items()}
    with pytest.raises(pg.PgpluginsError, match="cannot be rebuilt"):
        with_parameters(law, values)


class Shifted(dist.Normal):
    """A law whose constructor is told more than the parameters."""

    def __init__(self, loc, scale, shift=0.0, validate_args=None):
        self.keep(shift)
        super().__init__(loc, scale, validate_args=validate_args)

    def keep(self, shift):
        self._shift = shift

    @property
    def offset(self):
        return self._shift

    def rsample(self, sample_shape=()):
        return super().rsample(torch.Size(sample_shape)) + self.offset

    def log_prob(self, value):
        return super().log_prob(value - self.offset)

    def expand(self, batch_shape, _instance=None):
        loc, scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        return type(self)(loc, scale, self.offset)


class Elsewhere(Shifted):
    def keep(self, shift):
        self.apart = shift

    @property
    def offset(self):
        return self.apart


class Converted(Shifted):
    def keep(self, shift):
        self.shift = 2 * shift

    @property
    def offset(self):
        return self.shift / 2


@pytest.mark.parametrize("name", ["hybrid", "total_propagation"])
@pytest.mark.parametrize(("law", "lost"), [(Elsewhere, "shift"), (Converted, "shift")])
def test_a_law_is_not_rebuilt_without_what_its_constructor_was_told(law, lost, name):
    """Else it draws from Normal(0, 1), where the mean cost is 1 and not 5."""
    mu = parameter(0.0)
    with pytest.raises(pg.PgpluginsError, match=f"{lost}.*an attribute of") as caught:
        pg.expectation(
            lambda x: x**2, law(mu, 1.0, shift=2.0), estimator=name, num_samples=2
        )
    assert ".. " not in str(caught.value)


def test_a_law_that_keeps_what_its_constructor_was_told_is_rebuilt_with_it():
    torch.manual_seed(0)
    mu = parameter(0.0)
    loss = pg.expectation(
        lambda x: x**2,
        Shifted(mu, 1.0, shift=2.0),
        estimator="hybrid",
        num_samples=20_000,
    )
    # A standard error of 0.035: beyond six of them in one of 10^9 runs.
    assert abs(loss.item() - 5.0) < 0.2


@pytest.mark.parametrize("law", [Elsewhere, Converted])
def test_an_estimator_that_can_do_without_rebuilding_does(law):
    torch.manual_seed(0)
    mu = parameter(0.0)
    loss = pg.expectation(
        lambda x: x**2, law(mu, 1.0, shift=2.0), estimator="lax", num_samples=20_000
    )
    assert abs(loss.item() - 5.0) < 0.2
