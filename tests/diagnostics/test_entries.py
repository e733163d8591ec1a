"""What can be compared, and by what name it is called."""

import pyro.distributions as dist
import pytest

import pgplugins as pg
from pgplugins.diagnostics.entries import labelled
from pgplugins.errors import InputError, InputTypeError, UnknownEstimatorError
from pgplugins.plugins import Site


def sites():
    return ["z", "w"]


def test_a_list_is_called_by_its_estimators():
    pairs = labelled(
        [
            "reinforce",
            pg.estimator("hybrid"),
            None,
            {"z": "enumerate", "w_*": "pathwise", dist.Bernoulli: "disarm"},
        ],
        sites,
    )
    assert [label for label, _ in pairs] == [
        "score_function",
        "hybrid",
        "default",
        "z: enumerate, w_*: reparameterized, Bernoulli: disarm",
    ]
    z = Site("z", dist.Bernoulli(0.5))
    chosen = [rules.choose(z).estimator.name for _, rules in pairs]
    assert chosen == ["score_function", "hybrid", "score_function", "enumerate"]


def test_a_mapping_says_the_labels_itself():
    by_function = lambda site: "enumerate" if site.name == "z" else None  # noqa: E731
    pairs = dict(labelled({"a": by_function, "b": {"z": "disarm"}, "c": None}, sites))
    z = Site("z", dist.Bernoulli(0.5))
    assert pairs["a"].choose(z).estimator.name == "enumerate"
    assert pairs["b"].choose(z).estimator.name == "disarm"
    assert pairs["c"].choose(z).estimator.name == "score_function"


@pytest.mark.parametrize(
    ("entries", "error", "words"),
    [
        ({"z": "enumerate"}, InputError, "site names.*a list"),
        ({"z": "enumerate", "w": "hybrid"}, InputError, "site names"),
        ({dist.Normal: "hybrid"}, InputTypeError, "not strings"),
        ([{"z": "nope"}], UnknownEstimatorError, "nope"),
        ([{"z": "enumerate"}, {"z": "enumerate"}], InputError, "z: enumerate stands"),
        ([{3: "enumerate"}], InputTypeError, "3"),
        ([lambda site: None], InputTypeError, "mapping of labels"),
        (3, InputTypeError, "write a list"),
    ],
)
def test_what_cannot_be_compared_is_refused(entries, error, words):
    with pytest.raises(error, match=words):
        labelled(entries, sites)


def test_labels_may_share_a_name_with_one_of_the_sites():
    assert len(labelled({"z": "enumerate", "all by score": "reinforce"}, sites)) == 2
