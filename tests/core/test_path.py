"""Draws and densities as estimators need them."""

from typing import ClassVar

import pytest
import torch
from torch.distributions import (
    ContinuousBernoulli,
    Distribution,
    Independent,
    Normal,
    Uniform,
)

import pgplugins as pg
from pgplugins.core.path import density, mended, rsample, sample


class Attached(Normal):
    """Its ``sample`` forgets to let go of the parameters."""

    def sample(self, sample_shape=()):
        return self.rsample(torch.Size(sample_shape))


class Silent(Distribution):
    """It can do nothing."""

    arg_constraints: ClassVar = {}


def test_a_sample_has_no_path():
    loc = torch.zeros(3, requires_grad=True)
    assert Attached(loc, 1.0).sample().requires_grad
    assert not sample(Attached(loc, 1.0)).requires_grad


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(pg.PgpluginsError, match="Silent cannot be drawn from"):
        sample(Silent(validate_args=False))


@pytest.mark.parametrize(
    "error", [NotImplementedError, KeyError, AssertionError, ValueError]
)
def test_a_density_that_is_missing_is_said(error):
    class Without(Normal):
        def log_prob(self, value):
            raise error("not here")

    with pytest.raises(pg.PgpluginsError, match=r"Without has no density.*not here"):
        density(Without(0.0, 1.0), torch.tensor(0.0))


def test_an_error_of_this_library_passes():
    class Wrong(Normal):
        def log_prob(self, value):
            raise pg.errors.NotFiniteError("as it was")

    with pytest.raises(pg.errors.NotFiniteError, match="as it was"):
        density(Wrong(0.0, 1.0), torch.tensor(0.0))


@pytest.mark.parametrize("join", [False, True])
def test_a_continuous_bernoulli_is_drawn_as_torch_draws_it(join):
    """Its value is torch's; its path is that of its distribution function."""
    logits = torch.tensor([-2.0, -0.003, 0.0, 0.002, 1.0]).double().requires_grad_()
    law = ContinuousBernoulli(logits=logits)
    given = Independent(law, 1) if join else law
    assert mended(given) is law
    torch.manual_seed(0)
    expected = law.rsample()
    torch.manual_seed(0)
    value = rsample(given)
    assert torch.equal(value, expected)
    (slope,) = torch.autograd.grad(value.sum(), logits)
    # By the implicit function theorem: -(dF/dlogit) / density at the value.
    x, at = value.detach(), logits.detach()
    step = 1e-3

    def cdf(rate):
        return torch.expm1(rate * x) / torch.expm1(rate)

    off = torch.where(at.abs() < 2 * step, 4 * step, 0.0)  # away from 0 / 0
    moved = (cdf(at + off + step) - cdf(at + off - step)) / (2 * step)
    rate = at + off
    pdf = rate * torch.exp(rate * x) / torch.expm1(rate)
    torch.testing.assert_close(slope, -moved / pdf, rtol=0.02, atol=1e-4)


def test_others_are_left_alone():
    assert mended(Independent(Uniform(torch.zeros(2), 1.0), 1)) is None
