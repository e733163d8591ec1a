"""The quadrature against an adaptive integral and finite differences."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from pgplugins.diagnostics.main_job.logistic_regression import (
    exact_gradient,
    load_data,
)

FEATURES = torch.tensor([[1.0, 0.5], [-2.0, 8.0]], dtype=torch.float64)
LABELS = torch.tensor([1.0, 0.0], dtype=torch.float64)


def negative_elbo(loc, log_scale):
    total = sum(
        (math.exp(2 * r) + m**2) / 2 - r for m, r in zip(loc, log_scale, strict=True)
    )
    for x, y in zip(FEATURES.numpy(), LABELS.numpy(), strict=True):
        mean = x @ loc
        sd = math.sqrt(x**2 @ np.exp(2 * np.asarray(log_scale)))

        def integrand(t, sign=1 - 2 * y, mean=mean, sd=sd):
            return np.logaddexp(0, sign * (mean + sd * t)) * stats.norm.pdf(t)

        total += integrate.quad(integrand, -12, 12, epsabs=1e-13, limit=200)[0]
    return total


def test_quadrature_equals_an_adaptive_integral():
    loc, log_scale = np.array([0.4, -0.3]), np.array([-0.2, 0.1])
    found = exact_gradient(
        FEATURES, LABELS, torch.as_tensor(loc), torch.as_tensor(log_scale)
    )
    step = 1e-4
    for i, move in enumerate(step * np.eye(2)):
        by_loc = negative_elbo(loc + move, log_scale)
        by_loc -= negative_elbo(loc - move, log_scale)
        by_scale = negative_elbo(loc, log_scale + move)
        by_scale -= negative_elbo(loc, log_scale - move)
        assert found["loc"][i].item() == pytest.approx(by_loc / 2 / step, abs=1e-6)
        assert found["scale"][i].item() == pytest.approx(by_scale / 2 / step, abs=1e-6)


def test_data_are_standardised_with_an_intercept():
    features, labels = load_data()
    assert features.shape == (569, 31)
    torch.testing.assert_close(
        features[:, :30].mean(0), torch.zeros(30, dtype=torch.float64)
    )
    assert (features[:, 30] == 1).all()
    assert labels.sum() == 357  # benign tumours, by the data's description
