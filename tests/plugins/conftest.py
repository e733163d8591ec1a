"""A folder that looks like site-packages, and a registry that has seen nothing yet."""

import itertools
import textwrap
from collections.abc import Callable

import pytest

from pgplugins.plugins import registry
from pgplugins.plugins.manager import Manager

_numbers = itertools.count()


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Manager:
    """A fresh registry behind the public functions, for one test."""
    fresh = Manager()
    monkeypatch.setattr(registry, "_manager", fresh)
    return fresh


@pytest.fixture
def install(tmp_path, monkeypatch, manager) -> Callable[..., str]:
    """Install a module as the plugin ``name``; returns the module's name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(name, code, *, attribute="", distribution=None, version="0.3"):
        number = next(_numbers)
        module = f"third_party_{number}"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(code))
        distribution = distribution or f"pgplugins-{name}"
        info = tmp_path / f"dist_{number}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        target = f"{module}:{attribute}" if attribute else module
        (info / "entry_points.txt").write_text(f"[pgplugins]\n{name} = {target}\n")
        return module

    return install
