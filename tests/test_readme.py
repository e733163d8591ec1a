"""README's code runs, and its numbers are right."""

from __future__ import annotations

import importlib.util
import math
import re
import subprocess
import sys
from functools import reduce
from pathlib import Path

import numpy as np
from numpy.polynomial.hermite_e import hermegauss

import pgplugins as pg
from pgplugins.cli import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


SEED = "import pyro\npyro.set_rng_seed(0)\n"
# The regression explains the pathwise noise of a quadratic cost away altogether.
CHECKS = """
found = torch.sigmoid(pyro.param("logits")).round().tolist()
assert found == [0.0, 0.0, 1.0, 1.0], found
assert comparison.best == "hybrid", comparison.best
assert mu.grad is not None and policy.grad is not None
"""


def test_code_blocks_run_in_order() -> None:
    """In a process of their own: they register an estimator."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, re.S))
    run = subprocess.run(
        [sys.executable, "-c", SEED + code + CHECKS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "hybrid" in run.stdout


def test_table_of_wrong_and_right_gradients() -> None:
    """Every pair of numbers in the table, by quadrature over the noise."""
    mu, s = 0.7, 1.3
    nodes, weights = hermegauss(40)
    weights = weights / weights.sum()

    def mean(values: np.ndarray) -> float:
        return float((weights * values).sum())

    x = mu + s * nodes
    f, slope = (x - 2) ** 2, 2 * (x - 2)
    log_prob = -(nodes**2) / 2 - math.log(s) - math.log(2 * math.pi) / 2
    right = (mean(slope), mean(slope * nodes))
    score = (mean(f * nodes / s), mean(f * (nodes**2 - 1) / s))
    assert np.allclose(right, score)
    # Along the path log pi has the derivatives 0 and -1/s.
    attached_score = (0.0, mean(-f / s))
    nothing_detached = (mean(slope * log_prob), mean(slope * nodes * log_prob - f / s))
    twice = (right[0] + score[0], right[1] + score[1])
    rows = re.findall(r"^\| (`.*?) \|.*?\| (right|wrong|counted)", README, re.M)
    assert len(rows) == 7
    printed = [
        tuple(float(n) for n in pair)
        for pair in re.findall(
            r"\((-?\d+\.?\d*), (-?\d+\.?\d*)\) \| ",
            README.replace("\N{MINUS SIGN}", "-"),
        )
    ]
    expected = [right, attached_score, nothing_detached, twice, right, right, right]
    assert len(printed) == len(expected)
    for shown, exact in zip(printed, expected, strict=True):
        assert np.allclose(shown, exact, atol=0.05), (shown, exact)


def test_files_exist() -> None:
    named = re.findall(r"(?:docs|examples|tests)/[\w/-]+(?:\.\w+)?", README)
    assert len(named) > 8
    built = {"docs/_build"}
    assert [f for f in named if f not in built and not (ROOT / f).exists()] == []


def test_modules_that_are_run_exist() -> None:
    named = set(re.findall(r"python -m ([\w.]+)", README))
    assert {"pip", "pytest"} <= named
    elsewhere = {"pgplugins_example.variance": "examples/pgplugins-example/src"}
    for name in named:
        if name in elsewhere:
            path = ROOT / elsewhere[name] / (name.replace(".", "/") + ".py")
            assert path.is_file(), name
        else:
            assert importlib.util.find_spec(name), name


def test_commands_exist() -> None:
    named = set(re.findall(r"\bpgplugins ([a-z]+)(?=[` \n])", _code()))
    assert {"compare", "list", "new"} <= named <= set(COMMANDS)


def test_names_exist() -> None:
    named = set(re.findall(r"\bpg((?:\.[A-Za-z_]\w*)+)", README))
    assert {".ELBO", ".compare", ".rl"} <= named
    for name in named:
        reduce(getattr, name.strip(".").split("."), pg)


def _code() -> str:
    """What README sets in the type of code."""
    return "\n".join(re.findall(r"```bash\n.*?```|`[^`\n]+`", README, re.DOTALL))
