"""Regression on the past: right coefficients, from draws that came before."""

import copy

import pytest
import torch

from pgplugins.core.regression import PastRegression
from tests.statistics import limit

BETA = torch.tensor([[0.5], [-2.0], [3.0]], dtype=torch.float64)


MIX = torch.tensor(
    [[1.0, 0.8, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 0.05]], dtype=torch.float64
)


def rows(n, groups=1, noise=0.1, beta=BETA):
    """Correlated columns far from unit scale, and targets with an intercept."""
    columns = torch.randn(groups, n, 3, dtype=torch.float64) @ MIX
    targets = columns @ beta + 7 + noise * torch.randn(groups, n, 1)
    return columns, targets


def learnt(batches, n, horizon=100.0, ridge=1e-3):
    past = PastRegression(horizon, ridge)
    for _ in range(batches):
        past.update(*rows(n))
    return past


@pytest.mark.parametrize(("batches", "n"), [(2000, 1), (250, 8), (2, 1000)])
def test_known_coefficients_are_recovered(batches, n):
    found = learnt(batches, n, horizon=1e6, ridge=1e-9).coefficients()
    error = 0.1 * (torch.linalg.inv(MIX.T @ MIX).diagonal() / 2000).sqrt()
    assert ((found[0] - BETA).abs()[:, 0] < limit(3) * error).all()
    assert (10 * error < BETA[:, 0].abs()).all()


def test_groups_are_regressed_apart():
    past = PastRegression(horizon=1e6, ridge=1e-9)
    betas = torch.stack([BETA, -BETA, 2 * BETA])
    for _ in range(20):
        past.update(*rows(100, groups=3, noise=0.0, beta=betas))
    torch.testing.assert_close(past.coefficients(), betas, rtol=1e-3, atol=1e-3)


def test_nothing_is_said_before_there_is_a_past():
    assert PastRegression(100.0, 1e-3).coefficients() is None
    assert learnt(1, 2).coefficients() is None


def test_coefficients_do_not_change_when_they_are_read():
    past = learnt(100, 8)
    before = past.coefficients().clone()
    assert torch.equal(past.coefficients(), before)
    for _ in range(40):  # rows may wait until there are enough to matter
        past.update(*rows(8))
    assert not torch.equal(past.coefficients(), before)


def test_old_rows_are_forgotten():
    past = PastRegression(horizon=20.0, ridge=1e-9)
    for beta in (BETA, -BETA):
        for _ in range(200):
            past.update(*rows(80, noise=0.0, beta=beta))
    torch.testing.assert_close(past.coefficients()[0], -BETA, rtol=0.02, atol=0.02)


def test_few_columns_that_do_not_vary_are_harmless():
    past = PastRegression(100.0, 1e-9)
    for _ in range(50):
        columns, targets = rows(8, noise=0.0)
        past.update(torch.cat([columns, torch.zeros(1, 8, 1)], -1), targets)
    found = past.coefficients()
    assert found.isfinite().all()
    assert found[0, 3].abs() < 1e-6
    torch.testing.assert_close(found[0, :3], BETA, rtol=1e-3, atol=1e-3)


def test_columns_that_repeat_share_their_coefficient():
    past = PastRegression(1e6, 1e-3)
    for _ in range(50):
        columns, targets = rows(8, noise=0.0)
        past.update(torch.cat([columns, columns], -1), targets)
    found = past.coefficients()[0]
    torch.testing.assert_close(found[:2], found[3:5], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        (found[:3] + found[3:])[:2], BETA[:2], rtol=0.1, atol=0.1
    )


def test_the_state_is_restored_in_a_fresh_instance():
    past = learnt(60, 8)
    other = PastRegression(100.0, 1e-3)
    other.load_state_dict(copy.deepcopy(past.state_dict()))
    assert torch.equal(other.coefficients(), past.coefficients())
    for _ in range(10):
        batch = rows(8)
        past.update(*batch)
        other.update(*batch)
        assert torch.equal(other.coefficients(), past.coefficients())


def test_a_loaded_state_is_a_copy():
    past = learnt(60, 8)
    other = PastRegression(100.0, 1e-3)
    other.load_state_dict(past.state_dict())
    before = {k: v.clone() for k, v in past.state_dict().items()}
    for _ in range(40):
        other.update(*rows(8))
    assert all(torch.equal(v, before[k]) for k, v in past.state_dict().items())


def test_a_fresh_state_replaces_what_was_learnt():
    past = learnt(60, 8)
    past.load_state_dict(PastRegression(100.0, 1e-3).state_dict())
    assert past.coefficients() is None


def test_single_precision_rows_are_summed_in_double():
    past = PastRegression(horizon=1e6, ridge=1e-9)
    for _ in range(200):
        columns, targets = rows(8, noise=0.0)
        past.update((columns + 1000).float(), (targets + 1000).float())
    assert (past.coefficients()[0, :2] - BETA[:2]).abs().max() < 0.05
