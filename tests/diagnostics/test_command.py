"""The main job from the command line, at a fraction of its size; and own objectives."""

import base64
import json
import re
import sys

import pytest
import torch
from click.testing import CliRunner

from pgplugins.cli import main
from pgplugins.diagnostics.main_job import (
    cartpole,
    extras,
    logistic_regression,
    lqr,
)

WANT = {"score_function", "reparameterized", "hybrid"}


@pytest.fixture
def small(monkeypatch):
    """Fewer runs, and a training that stops after a few episodes."""
    monkeypatch.setattr(lqr, "RUNS", 40)
    monkeypatch.setattr(logistic_regression, "RUNS", 40)
    monkeypatch.setattr(logistic_regression, "WARMUP", 40)
    monkeypatch.setattr(logistic_regression, "STEPS", 20)
    monkeypatch.setattr(cartpole, "STEP_LIMIT", 3_000)


def test_json_holds_every_estimator_on_every_objective(small, tmp_path):
    done = CliRunner().invoke(
        main, ["compare", "--json", "--output", str(tmp_path / "new"), "--seed", "3"]
    )
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    names: dict[str, set[str]] = {}
    for row in shown["rows"]:
        names.setdefault(row["objective"], set()).add(row["estimator"])
        assert abs(row["bias_z"]) < 5.5  # Student's t: one false alarm in 10,000
        assert row["efficiency"] == pytest.approx(
            1 / (row["variance"] * row["seconds"])
        )
    assert len(names) == 2
    assert all(found == WANT for found in names.values())
    assert {entry["objective"] for entry in shown["objectives"]} == set(names)
    assert shown["training"]["env_steps"][-1] >= 3_000
    assert shown["seed"] == 3
    header = (tmp_path / "new" / "compare.png").read_bytes()[:8]
    assert header == b"\x89PNG\r\n\x1a\n"


def test_text_says_who_won_and_how_to_read_it(small, tmp_path):
    done = CliRunner().invoke(
        main,
        ["compare", "--output", str(tmp_path), "--estimators", "hybrid, reparam"],
    )
    assert done.exit_code == 0, done.output
    assert "score_function  " not in done.stdout
    assert "hybrid wins" in done.stdout
    assert "How to read this" in done.stdout
    assert "CartPole-v1 with score_function: not solved" in done.stdout


@pytest.mark.parametrize("names", ["nope", "hybrid,nope"])
def test_a_wrong_name_is_one_line_and_status_two(names):
    done = CliRunner().invoke(main, ["compare", "--estimators", names])
    assert done.exit_code == 2
    assert "'nope'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_no_names_at_all_are_refused():
    done = CliRunner().invoke(main, ["compare", "--estimators", " , "])
    assert done.exit_code == 2
    assert "names nothing" in done.stderr


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(extras._DISTRIBUTIONS, "no_such_module", "no-such-package")
    done = CliRunner().invoke(main, ["compare"])
    assert done.exit_code == 2
    assert "no-such-package" in done.stderr
    assert 'pip install "pgplugins[examples]"' in done.stderr


OBJECTIVE = """
import pyro
import pyro.distributions as dist
import torch

import pgplugins as pg

torch.set_default_dtype(torch.float64)
mu = torch.tensor(0.7, requires_grad=True)
params = {"mu": mu}
objective = (lambda x: (x - 2) ** 2, lambda: torch.distributions.Normal(mu, 1.3))


def model():
    pyro.sample("z", dist.Bernoulli(0.3))


def guide():
    pyro.sample("z", dist.Bernoulli(logits=pyro.param("<l>", torch.tensor(0.4))))


pair = (model, guide, ())
elbo = pg.IWELBO(4, vectorize_particles=True, max_plate_nesting=0)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_module", raising=False)
    (tmp_path / "my_module.py").write_text(OBJECTIVE)
    before = torch.get_default_dtype()
    yield tmp_path
    torch.set_default_dtype(before)
    sys.modules.pop("my_module", None)


def test_an_objective_of_ones_own_with_a_report(own):
    done = CliRunner().invoke(
        main,
        "compare my_module:objective --params params --num-runs 400 --num-samples 4 "
        "--estimators score_function,pathwise --report out.html".split(),
    )
    assert done.exit_code == 0, done.output
    assert "reparameterized wins" in done.stdout
    assert "Report: out.html" in done.stdout
    page = (own / "out.html").read_text()
    rows = re.findall(r"<tr[^>]*><td>(.*?)</tr>", page)
    assert len(rows) == 2
    # 4 s^2 along the path, a quarter of it for four samples, to 20%.
    (variance,) = (float(r.split("<td>")[3].split()[0]) for r in rows if "reparam" in r)
    assert variance == pytest.approx(1.3**2, rel=0.2)
    picture = re.search(r'src="data:image/png;base64,([^"]+)"', page)
    assert base64.b64decode(picture[1])[:8] == b"\x89PNG\r\n\x1a\n"
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_a_triple_with_a_bound_of_its_own(own):
    done = CliRunner().invoke(
        main,
        "compare my_module:pair --elbo elbo --num-runs 40 --json --seed 5 "
        "--estimators score_function --report out.html".split(),
    )
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert [row["estimator"] for row in shown["rows"]] == ["score_function"]
    assert shown["seed"] == 5 and shown["report"] == "out.html"
    assert "<h1>my_module:pair</h1>" in (own / "out.html").read_text()


def test_every_parameter_is_shown_if_asked_for(own):
    asked = (
        "compare my_module:objective --params params --num-runs 40 "
        "--estimators pathwise --report out.html"
    ).split()
    plain = CliRunner().invoke(main, asked)
    assert "by parameter" not in plain.stdout
    assert "<details>" not in (own / "out.html").read_text()
    done = CliRunner().invoke(main, [*asked, "--detail"])
    assert done.exit_code == 0, done.output
    _, below = done.stdout.split("my_module:objective, by parameter")
    assert re.search(r"^mu +reparameterized ", below, re.MULTILINE)
    _, folded = (own / "out.html").read_text().split("<details>")
    assert "<td>mu</td><td>reparameterized</td>" in folded
    shown = json.loads(CliRunner().invoke(main, [*asked, "--detail", "--json"]).stdout)
    (entry,) = shown["by_parameter"]
    (row,) = shown["rows"]
    assert entry["name"] == "mu"
    assert entry["variance"] == row["variance"] and entry["bias_z"] == row["bias_z"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("my_module:nothing", "has no 'nothing'"),
        ("my_module", "write MODULE:NAME"),
        ("my_module:objective --output here", "--report"),
        ("my_module:objective --params nope", "has no 'nope'"),
        ("--num-runs 40", "--num-runs is for an objective of your own"),
        (
            "my_module:objective --params params --num-runs 40 "
            "--estimators pathwise --report no/such/folder.html",
            "--report no/such/folder.html",
        ),
    ],
)
def test_what_cannot_be_compared_is_one_line(own, arguments, words):
    done = CliRunner().invoke(main, ["compare", *arguments.split()])
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
