"""Plugins are found late, one by one, and fail alone."""

import os
import subprocess
import sys
import warnings

import pytest

import pgplugins as pg
from pgplugins.errors import PluginWarning
from pgplugins.plugins import Site, default_estimator, owner_of, plugins, problems
from tests.plugins.sources import estimator

BUILT_IN = {"enumerate", "hybrid", "reparameterized", "score_function"}


def record(name):
    (found,) = [r for r in plugins() if r.name == name]
    return found


def test_an_installed_plugin_is_found_and_owned_by_its_distribution(install):
    install("outsider", estimator("outsider"), version="2.1")
    assert {"outsider", *BUILT_IN} <= set(pg.available())
    assert owner_of("outsider") == "pgplugins-outsider"
    assert pg.estimator("outsider").name == "outsider"
    found = record("outsider")
    assert (found.status, found.error, found.version) == ("loaded", None, "2.1")
    assert found.estimators == ("outsider",)


def test_names_are_sorted(install):
    install("a", estimator("zebra"))
    install("z", estimator("aardvark"))
    assert pg.available() == sorted(pg.available())
    assert {"aardvark", "zebra"} <= set(pg.available())


def test_an_entry_point_may_lead_to_an_object(install):
    code = estimator("inner") + (
        "class Holder:\n"
        "    @pg.hookimpl\n"
        "    def pgplugins_register_estimators(self):\n"
        "        return [Outsider]\n"
        "holder = Holder()\n"
    )
    install("holder", code, attribute="holder")
    assert "inner" in pg.available()


def test_the_built_in_estimators_are_a_plugin(manager):
    first = plugins()[0]
    assert (first.name, first.status) == ("pgplugins", "loaded")
    assert set(first.estimators) >= BUILT_IN
    assert {owner_of(name) for name in first.estimators} == {"pgplugins"}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise RuntimeError('boom at\\nimport')", ["RuntimeError", "boom at import"]),
        ("import sys; sys.exit('gone')", ["SystemExit", "gone"]),
        ("import no_such_module", ["ModuleNotFoundError", "no_such_module"]),
        ("x = 1", ["no hook", "pgplugins_register_estimators"]),
        (
            "import pgplugins as pg\n@pg.hookimpl\n"
            "def pgplugins_register_estimator():\n    return []\n",
            ["'pgplugins_register_estimator'", "pgplugins_register_estimators"],
        ),
        (
            "import pgplugins as pg\n@pg.hookimpl\n"
            "def pgplugins_default_estimator(sight):\n    return None\n",
            ["pgplugins_default_estimator", "sight"],
        ),
        (
            "import pgplugins as pg\n@pg.hookimpl\n"
            "def pgplugins_register_estimators():\n    raise KeyError('inside')\n",
            ["KeyError", "inside"],
        ),
        (
            "import pgplugins as pg\n@pg.hookimpl\n"
            "def pgplugins_register_estimators():\n    return 3\n",
            ["list of classes", "3"],
        ),
        (
            "import pgplugins as pg\n@pg.hookimpl\n"
            "def pgplugins_register_estimators():\n    return ['hybrid']\n",
            ["class", "'hybrid'"],
        ),
        (
            estimator("half").replace("def draw", "def draws"),
            ["Outsider", "abstract", "draw"],
        ),
    ],
    ids=[
        "import",
        "exit",
        "missing",
        "no-hook",
        "misspelled",
        "argument",
        "raising",
        "no-list",
        "no-class",
        "abstract",
    ],
)
def test_a_broken_plugin_is_left_out_alone(install, code, words):
    # One plugin before it and one after it, in the order of loading.
    install("a_neighbour", estimator("before"))
    install("broken", code)
    install("z_neighbour", estimator("after"))
    with pytest.warns(PluginWarning, match="'broken'") as caught:
        names = pg.available()
    assert {"before", "after", *BUILT_IN} <= set(names)
    assert len(caught) == 1
    found = record("broken")
    assert (found.status, found.estimators) == ("failed", ())
    assert all(word in found.error for word in words), found.error
    assert "\n" not in found.error


def test_an_entry_point_that_leads_to_the_class_says_what_to_write(install):
    install("direct", estimator("direct"), attribute="Outsider")
    with pytest.warns(PluginWarning):
        pg.available()
    assert "hookimpl" in record("direct").error
    assert "Outsider" in record("direct").error


def test_a_failure_is_reported_once(install):
    install("boom", "raise RuntimeError('boom')")
    with pytest.warns(PluginWarning):
        pg.available()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(pg.available()) >= BUILT_IN


def test_warnings_as_errors_lose_no_estimator(install):
    install("boom", "raise RuntimeError('boom')")
    install("outsider", estimator("outsider"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PluginWarning):
            pg.available()
        assert {"outsider", *BUILT_IN} <= set(pg.available())


def test_a_broken_plugin_keeps_none_of_its_hooks(install):
    code = estimator("hybrid") + (
        "\n@pg.hookimpl\ndef pgplugins_default_estimator(site):\n    return 'hybrid'\n"
    )
    install("twin", code)
    with pytest.warns(PluginWarning):
        decision = default_estimator(Site("z", dist=None))
    assert decision is None


def test_a_clash_with_a_built_in_names_both_owners(install):
    module = install("twin", estimator("hybrid", "Twin"))
    with pytest.warns(PluginWarning):
        hybrid = pg.estimator("hybrid")
    assert type(hybrid).__module__.startswith("pgplugins.")
    error = record("twin").error
    words = ["'hybrid'", f"{module}.Twin", "pgplugins-twin", "Hybrid", "pgplugins)"]
    assert all(word in error for word in words), error


def test_of_two_plugins_that_clash_the_first_by_name_keeps_the_name(install):
    install("alpha", estimator("shared"))
    install("beta", estimator("shared"))
    with pytest.warns(PluginWarning, match="'beta'"):
        assert owner_of("shared") == "pgplugins-alpha"
    assert record("alpha").status == "loaded"
    assert "pgplugins-alpha" in record("beta").error
    assert "pgplugins-beta" in record("beta").error


def test_a_plugin_is_left_out_as_a_whole(install):
    code = estimator("fine") + (
        "class Second(Outsider):\n    name = 'hybrid'\n"
        "@pg.hookimpl\n"
        "def pgplugins_register_estimators():\n    return [Outsider, Second]\n"
    )
    install("half", code)
    with pytest.warns(PluginWarning):
        assert "fine" not in pg.available()


def test_two_classes_of_one_plugin_clash_too(install):
    code = estimator("fine") + (
        "class Second(Outsider):\n    pass\n"
        "@pg.hookimpl\n"
        "def pgplugins_register_estimators():\n    return [Outsider, Second]\n"
    )
    install("twins", code)
    with pytest.warns(PluginWarning):
        pg.available()
    assert "Second" in record("twins").error
    assert "Outsider" in record("twins").error


def test_an_alias_is_a_taken_name(install):
    install("alias", estimator("pathwise"))
    with pytest.warns(PluginWarning):
        assert pg.estimator("pathwise").name == "reparameterized"
    assert "alias of 'reparameterized'" in record("alias").error


def test_two_distributions_with_one_entry_point_name(install):
    decides = "@pg.hookimpl\ndef pgplugins_default_estimator():\n    return '{}'\n"
    for name in ("one", "two"):
        code = estimator(name) + decides.format(name)
        install("same", code, distribution=f"pgplugins-{name}")
    with pytest.warns(PluginWarning, match="pgplugins-two"):
        names = pg.available()
    assert "one" in names
    assert "two" not in names
    # The second one's failure takes no hook from the first.
    assert default_estimator(Site("z", dist=None)) == "one"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("PGPLUGINS_DISABLE_AUTOLOAD", "1", {"outsider": False, "other": False}),
        ("PGPLUGINS_DISABLE_AUTOLOAD", "0", {"outsider": True, "other": True}),
        ("PGPLUGINS_DISABLE_AUTOLOAD", "", {"outsider": True, "other": True}),
        ("PGPLUGINS_DISABLED_PLUGINS", "outsider", {"outsider": False, "other": True}),
        (
            "PGPLUGINS_DISABLED_PLUGINS",
            "nobody, pgplugins_OTHER",
            {"outsider": True, "other": False},
        ),
        (
            "PGPLUGINS_DISABLED_PLUGINS",
            "other,outsider",
            {"outsider": False, "other": False},
        ),
        ("PGPLUGINS_DISABLED_PLUGINS", "", {"outsider": True, "other": True}),
        ("PGPLUGINS_DISABLED_PLUGINS", " , ", {"outsider": True, "other": True}),
    ],
)
def test_plugins_can_be_switched_off(install, monkeypatch, variable, value, expected):
    for name in ("outsider", "other"):
        # Importing a plugin that is switched off would be noticed.
        fuse = "" if expected[name] else "raise RuntimeError\n"
        install(name, fuse + estimator(name))
    monkeypatch.setenv(variable, value)
    names = pg.available()
    assert {name: name in names for name in expected} == expected
    assert set(names) >= BUILT_IN
    for name, on in expected.items():
        assert record(name).status == ("loaded" if on else "disabled")
        assert (record(name).error is None) == on
        if not on:
            assert variable in record(name).error


def test_importing_pgplugins_loads_no_plugin(install, tmp_path):
    install("loud", "print('LOADED')\n" + estimator("loud"))
    code = "import pgplugins as pg; print('imported'); pg.available()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path])),
        check=True,
    )
    assert done.stdout.split() == ["imported", "LOADED"]


def test_a_plugin_that_looks_up_estimators_while_it_is_imported(install):
    code = "import pgplugins as pg\nseen = pg.available()\n" + estimator("curious")
    install("curious", code)
    assert "curious" in pg.available()


def test_registering_by_hand_loads_no_plugin(install, manager):
    install("loud", "raise RuntimeError('loaded')")
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        @pg.register
        class Mine(pg.Estimator):
            name = "mine"
            traits = pg.Traits(unbiased=True)

            def draw(self, dist):
                raise NotImplementedError

            def gradient_term(self, draw, cost):
                raise NotImplementedError

    with pytest.warns(PluginWarning):
        assert "mine" in pg.available()


PROBLEM = """
import torch
import pgplugins as pg
from pgplugins.testing.problems import Expectation, Problem
from torch.distributions import Exponential


def problem(name):
    return Problem(
        name=name,
        parameters={{"rate": torch.tensor(1.5).double()}},
        objective=Expectation(lambda p: Exponential(p["rate"]), lambda x, p: x),
        expected_cost=lambda p: 1 / p["rate"],
    )


@pg.hookimpl
def pgplugins_register_problems():
    return {returned}
"""


def test_a_plugin_may_offer_problems(install):
    install("one", PROBLEM.format(returned='[problem("waiting_time")]'))
    assert [p.name for p in problems()] == ["waiting_time"]
    assert record("one").status == "loaded"


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("[3]", "must return a list of pgplugins.testing.problems.Problem"),
        ('problem("alone")', "must return a list"),
        ('[problem("twice"), problem("twice")]', "another problem has"),
    ],
)
def test_what_is_no_list_of_problems_is_left_out(install, returned, words):
    install("bad", PROBLEM.format(returned=returned))
    with pytest.warns(PluginWarning, match=words):
        assert problems() == []


def test_two_plugins_with_a_problem_of_one_name(install):
    install("a", PROBLEM.format(returned='[problem("same")]'))
    install("b", PROBLEM.format(returned='[problem("same")]'))
    with pytest.warns(PluginWarning, match="'same'"):
        assert len(problems()) == 1
    assert [record(n).status for n in "ab"] == ["loaded", "failed"]
