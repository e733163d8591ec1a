"""How lint is used, and that it changes nothing."""

import dataclasses
import os
import subprocess
import sys
import threading
import warnings

import pyro
import pyro.distributions as pdist
import pytest
import torch
import torch.distributions as dist
from pyro import infer
from torch import nn

import pgplugins as pg
from pgplugins.diagnostics.lint.findings import RULES, Finding
from pgplugins.errors import LintWarning


def wrong(d):
    x = d.rsample()
    loss = (x - 2).detach() ** 2 * d.log_prob(x)
    loss.sum().backward()


def normal():
    return dist.Normal(torch.zeros(3, requires_grad=True), 1.0)


def quiet_lint():
    warnings.simplefilter("ignore", LintWarning)
    return pg.lint()


@pytest.fixture(autouse=True)
def own_filters():
    with warnings.catch_warnings():
        yield


def test_a_finding_says_everything():
    with quiet_lint() as report:
        wrong(normal())
    (finding,) = report.findings
    line = wrong.__code__.co_firstlineno + 2
    assert (finding.file, finding.line) == (__file__, line)
    text = str(report)
    assert text.startswith(f"{__file__}:{line}: attached-score: ")
    assert "moves along with the density" in text
    assert text.endswith(
        "Write x = d.sample(), or cost.detach() * d.log_prob(x.detach())."
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        finding.line = 3
    assert (len(report), list(report)) == (1, [finding])


def test_an_empty_report_says_so():
    with pg.lint() as report:
        pass
    assert str(report) == "lint: nothing found"


def test_a_line_is_reported_once_in_a_loop():
    with quiet_lint() as report:
        for _ in range(3):
            wrong(normal())
    assert len(report) == 1


def test_the_end_of_the_block_warns_at_the_line():
    with pytest.warns(LintWarning, match="^attached-score: ") as caught:
        with pg.lint():
            wrong(normal())
    (warning,) = caught
    line = wrong.__code__.co_firstlineno + 2
    assert (warning.filename, warning.lineno) == (__file__, line)


def test_an_error_of_the_program_goes_through():
    rsample = dist.Normal.rsample
    with pytest.warns(LintWarning), pytest.raises(KeyError, match="mine"):
        with pg.lint():
            wrong(normal())
            raise KeyError("mine")
    assert dist.Normal.rsample is rsample


@pytest.mark.parametrize("decorate", [pg.lint, pg.lint()])
def test_a_decorated_function_is_watched_at_each_call(decorate):
    @decorate
    def train(d, *, times=1):
        """Train."""
        for _ in range(times):
            wrong(d)
        return 5

    assert (train.__name__, train.__doc__) == ("train", "Train.")
    for _ in range(2):
        with pytest.warns(LintWarning, match="attached-score"):
            assert train(normal(), times=2) == 5


@pytest.mark.parametrize("right", [False, True])
def test_a_decorated_functions_loss_is_judged(right):
    @pg.lint
    def loss(d):
        x = d.rsample()
        f = (x - 2) ** 2
        if right:
            return f.mean()
        return f.mean() + (f.detach() * d.log_prob(x.detach())).mean()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loss(normal()).backward()
    assert ["double-counting" in str(w.message) for w in caught] == [True] * (not right)


def test_a_block_without_a_backward_pass_is_judged_by_its_products():
    with quiet_lint() as report:
        d = normal()
        x = d.rsample()
        loss = (x - 2).detach() ** 2 * d.log_prob(x)
    loss.sum().backward()
    assert [finding.rule for finding in report] == ["attached-score"]


def test_a_product_that_no_pass_goes_through_is_nobodys_business():
    with pg.lint() as report:
        d = normal()
        x = d.rsample()
        (x.detach() * d.log_prob(x)).mean()
        (x - 2).pow(2).mean().backward()
    assert report.findings == []


def test_blocks_nest():
    with quiet_lint() as outer:
        wrong(normal())
        with pg.lint() as inner:
            normal().rsample().sum().backward()
        with pg.lint() as second:
            wrong(normal())
    assert (len(outer), len(inner), len(second)) == (1, 0, 1)


def test_one_object_can_be_entered_again():
    lint = quiet_lint()
    for _ in range(2):
        with lint as report:
            wrong(normal())
        assert len(report) == 1


def test_nothing_stays_installed():
    def state():
        methods = ("sample", "rsample", "log_prob", "__init__")
        laws = [dist.Distribution, dist.Normal, pdist.Delta, dist.Independent]
        found = [vars(law).get(name) for law in laws for name in methods]
        return [*found, dist.TanhTransform._inverse, torch.from_numpy]

    before = state()
    with quiet_lint():
        assert state() != before
        with pg.lint():
            wrong(normal())
        assert state() != before
    assert state() == before


def test_a_law_that_is_defined_inside_is_watched():
    with quiet_lint() as report:

        class Shifted(dist.Normal):
            def rsample(self, sample_shape=()):
                return self.loc + torch.randn(sample_shape + self.loc.shape)

            def log_prob(self, value):
                return -((value - self.loc) ** 2) / 2

        wrong(Shifted(torch.zeros(3, requires_grad=True), 1.0))
    assert [finding.rule for finding in report] == ["attached-score"]
    assert Shifted.rsample.__name__ == Shifted.rsample.__code__.co_name


def test_threads_are_watched_apart():
    reports = {}

    def work(name, program):
        with quiet_lint() as report:
            for _ in range(20):
                program()
        reports[name] = [finding.rule for finding in report]

    programs = {
        "wrong": lambda: wrong(normal()),
        "right": lambda: (normal().rsample() ** 2).sum().backward(),
    }
    with pg.lint() as mine:
        threads = [
            threading.Thread(target=work, args=pair) for pair in programs.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert reports == {"wrong": ["attached-score"], "right": []}
    assert mine.findings == []


def test_what_is_remembered_does_not_outgrow_its_bits(monkeypatch):
    from pgplugins.diagnostics.lint import memory

    monkeypatch.setattr(memory, "_MANY", 40)
    with quiet_lint() as report:
        for _ in range(100):
            d = normal()
            x = d.sample()
            (x.pow(2) * d.log_prob(x)).sum().backward()
        wrong(d)
    assert [finding.rule for finding in report] == ["attached-score"]


def test_rules_have_names_and_remedies():
    for rule in RULES:
        finding = rule.at(("file.py", 3))
        assert isinstance(finding, Finding)
        assert finding.remedy.startswith(("Write", "Keep", "Give", "Leave", "Divide"))


def reinforce():
    policy = nn.Linear(2, 2)
    d = dist.Normal(policy(torch.ones(5, 2)), 1.0)
    x = d.rsample()
    logp = d.log_prob(x)
    torch.round(x).mean().add((logp * x.detach()).mean()).backward()
    return [p.grad for p in policy.parameters()], torch.rand(3)


def actor():
    net = nn.Linear(3, 4)
    d = dist.TransformedDistribution(
        dist.Normal(net(torch.randn(5, 3)), 1.0), [dist.TanhTransform(cache_size=1)]
    )
    a = d.rsample()
    loss = (0.2 * d.log_prob(a) - a.pow(3)).mean()
    grads = torch.autograd.grad(loss, list(net.parameters()))
    return [loss, *grads], torch.rand(3)


def elbo_of(estimator, dependencies):
    def model():
        k = pyro.sample("k", pdist.Bernoulli(0.4))
        mean = 2.0 if k > 0 else 0.0
        z = pyro.sample("z", pdist.Normal(mean, 1.0))
        pyro.sample("x", pdist.Normal(torch.sin(z), 1.0), obs=torch.tensor(0.3))

    def guide():
        logit = pyro.param("logit", torch.tensor(0.2))
        loc = pyro.param("loc", torch.tensor(0.1))
        pyro.sample("k", pdist.Bernoulli(logits=logit))
        pyro.sample("z", pdist.Normal(loc, 0.5))

    def program():
        pyro.clear_param_store()
        elbo = pg.ELBO(estimators={"z": estimator}, dependencies=dependencies)
        svi = infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), elbo)
        losses = torch.tensor([svi.step() for _ in range(8)])
        return [losses, pyro.param("logit"), pyro.param("loc")], torch.rand(3)

    return program


PROGRAMS = [
    reinforce,
    actor,
    *(
        pytest.param(elbo_of(name, how), id=f"{name}-{how}")
        for name in ("score_function", "reparameterized", "hybrid")
        for how in ("provenance", "plates")
    ),
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_losses_gradients_and_random_numbers_stay_the_same(program):
    def run():
        torch.manual_seed(0)
        values, rest = program()
        return [*(value.detach().clone() for value in values), rest]

    plain = run()
    with quiet_lint():
        watched = run()
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))


TESTS = """
import torch
from torch.distributions import Normal

def step(sample):
    d = Normal(torch.zeros(3, requires_grad=True), 1.0)
    x = getattr(d, sample)()
    (x.detach() ** 2 * d.log_prob(x)).sum().backward()

def test_right(pgplugins_lint):
    step("sample")
    assert pgplugins_lint.findings == []

def test_wrong(pgplugins_lint):
    step("rsample")
"""


def test_the_fixture_fails_a_test_with_the_findings(tmp_path):
    file = tmp_path / "test_steps.py"
    file.write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, str(file)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert "1 failed, 1 passed" in done.stdout
    assert f"{file}:8: attached-score: " in done.stdout
