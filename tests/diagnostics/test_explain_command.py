"""``pgplugins explain`` on a module in the working directory."""

import json
import sys

import pyro
import pytest
from click.testing import CliRunner

from pgplugins.cli import main

MODULE = """
import torch
import pyro
import pyro.distributions as dist
import pgplugins as pg

mu = torch.tensor(0.7, requires_grad=True)
tensors = {"mu": mu}
square = (lambda x: (x - 2) ** 2, lambda: dist.Normal(mu, 1.3))


def model():
    pyro.sample("z", dist.Bernoulli(0.4))


def guide():
    pyro.sample("z", dist.Bernoulli(logits=pyro.param("l", torch.tensor(0.1))))


pair = (model, guide, ())
exact = pg.ELBO(estimators={"z": "enumerate"})
"""


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    (tmp_path / "some_objectives.py").write_text(MODULE)
    (tmp_path / "misses_another.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pyro.get_param_store().scope():
        yield lambda *args: CliRunner().invoke(main, ["explain", *args])
    sys.modules.pop("some_objectives", None)


def test_json_of_an_expectation_with_named_parameters(invoke):
    done = invoke(
        "some_objectives:square",
        *("--params", "tensors", "--num-samples", "500", "--num-runs", "100", "--json"),
    )
    assert done.exit_code == 0, done.output
    (site,) = json.loads(done.stdout)["sites"]
    for part in ("score", "pathwise"):  # -2.6; the standard errors are 0.03 and 0.01
        assert site[part]["mean"]["mu"] == pytest.approx(-2.6, abs=0.2)


def test_text_of_a_pair_with_an_elbo(invoke):
    done = invoke("some_objectives:pair", "--elbo", "exact", "--num-runs", "5")
    assert done.exit_code == 0, done.output
    assert "z: enumerate, chosen by name 'z'" in done.stdout.splitlines()
    assert "How to read this" in done.stdout


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("some_objectives", "write MODULE:NAME"),
        ("nowhere_to_be_found:square", "no module 'nowhere_to_be_found'"),
        ("some_objectives:sqare", "Did you mean 'square'?"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(invoke, target, said):
    done = invoke(target)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_module_that_misses_another_says_which(invoke):
    done = invoke("misses_another:square")
    assert isinstance(done.exception, ModuleNotFoundError)
    assert done.exception.name == "no_such_module_anywhere"
