"""A plugin may decide for a site that names no estimator."""

import pytest
import torch

from pgplugins.errors import InputTypeError
from pgplugins.plugins import Site, default_estimator

HEADER = "import pgplugins as pg\n"
SITE = Site("z", torch.distributions.Normal(0.0, 1.0), {"hint": "quick"})


def decide(body, marker="@pg.hookimpl"):
    return f"{HEADER}{marker}\ndef pgplugins_default_estimator(site):\n    {body}\n"


def test_nobody_decides(manager):
    assert default_estimator(SITE) is None


def test_a_plugin_sees_the_site(install):
    install(
        "picky",
        decide(
            "return (site.name, type(site.dist).__name__, site.infer['hint'])"
            " == ('z', 'Normal', 'quick') and 'hybrid' or None"
        ),
    )
    assert default_estimator(SITE) == "hybrid"
    other = Site("w", SITE.dist, {"hint": "quick"})
    with pytest.raises(AttributeError):
        other.name = "z"
    assert default_estimator(other) is None


def test_a_plugin_may_return_an_instance(install):
    install("ready", decide("return pg.estimator('enumerate', max_rows=4)"))
    answer = default_estimator(SITE)
    assert answer.name == "enumerate"
    assert answer.max_rows == 4


def test_the_next_plugin_is_asked_when_one_passes(install):
    install("zzz", decide("return None"))
    install("aaa", decide("return 'hybrid'"))
    assert default_estimator(SITE) == "hybrid"


def test_the_last_by_name_is_asked_first_unless_one_asks_to_be(install):
    install("aaa", decide("return 'hybrid'"))
    install("zzz", decide("return 'enumerate'"))
    assert default_estimator(SITE) == "enumerate"


def test_tryfirst_is_asked_first(install):
    install("aaa", decide("return 'hybrid'", "@pg.hookimpl(tryfirst=True)"))
    install("zzz", decide("return 'enumerate'"))
    assert default_estimator(SITE) == "hybrid"


def test_an_answer_of_another_kind_is_refused(install):
    install("wrong", decide("return 3"))
    with pytest.raises(InputTypeError, match=r"3 for site 'z'.*wrong"):
        default_estimator(SITE)


def test_a_hook_may_leave_its_argument_out(install):
    code = "@pg.hookimpl\ndef pgplugins_default_estimator():\n    return 'hybrid'\n"
    install("short", HEADER + code)
    assert default_estimator(SITE) == "hybrid"
