"""Graphs run as they were traced, unless a test asks for the compiler."""

import pytest

from pgplugins.compiled import lowering


@pytest.fixture
def inductor():
    """Have Inductor compile the graphs of this test."""


@pytest.fixture(autouse=True)
def uncompiled(request, monkeypatch):
    if "inductor" not in request.fixturenames:
        monkeypatch.setattr(lowering, "_compile", lowering._interpreted)


@pytest.fixture
def graphs(uncompiled, monkeypatch):
    """The graphs that are made ready for the compiler."""
    seen = []

    def keep(graph):
        seen.append(graph)
        return lowering._interpreted(graph)

    monkeypatch.setattr(lowering, "_compile", keep)
    return seen
