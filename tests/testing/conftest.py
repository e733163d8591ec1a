"""A registry that has seen nothing yet."""

import pytest

from pgplugins.plugins import registry
from pgplugins.plugins.manager import Manager


@pytest.fixture
def manager(monkeypatch):
    """A fresh registry behind the public functions, for one test."""
    fresh = Manager()
    monkeypatch.setattr(registry, "_manager", fresh)
    return fresh
