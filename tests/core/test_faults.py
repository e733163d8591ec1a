"""A registry of what is wrong with families, by type, seen through what wraps them."""

import pytest
import torch
from torch.distributions import (
    ExpTransform,
    Gamma,
    Independent,
    Normal,
    TransformedDistribution,
)

from pgplugins.core import faults


class Odd(Normal):
    """A Normal that is registered below."""


class Odder(Odd):
    """What is derived from it."""


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for name in ("_PATH", "_DENSITY"):
        monkeypatch.setattr(faults, name, dict(getattr(faults, name)))
    monkeypatch.setattr(faults, "_OF_PARAMETERS", set(faults._OF_PARAMETERS))
    faults.register_path_fault(Odd, of_parameters=True)(
        lambda d: "too high" if (d.loc > 1).any() else None
    )
    faults.register_path_fault(Odd)(lambda d: "too low" if (d.loc < -1).any() else None)


@pytest.mark.parametrize("kind", [Odd, Odder])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda d: d,
        lambda d: Independent(d, 1),
        lambda d: TransformedDistribution(d, [ExpTransform()]),
    ],
    ids=["bare", "joined", "transformed"],
)
def test_every_registered_fault_is_looked_at(kind, wrap):
    assert faults.path_fault(wrap(kind(torch.tensor([0.0, 2.0]), 1.0))) == "too high"
    assert faults.path_fault(wrap(kind(torch.tensor([0.0, -2.0]), 1.0))) == "too low"
    assert faults.path_fault(wrap(kind(torch.tensor([0.0, 0.5]), 1.0))) is None
    assert faults.density_fault(wrap(kind(torch.tensor([0.0, 2.0]), 1.0))) is None
    assert faults.faults_vary(wrap(kind(torch.tensor([0.0]), 1.0)))


def test_others_are_not_asked():
    assert faults.path_fault(Normal(2.0, 1.0)) is None
    assert not faults.faults_vary(Gamma(1.0, 1.0))
