"""What depends on values cannot be compiled: the error names the line and the site."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from pgplugins.errors import CompileError
from tests.compiled.programs import parameters, svi


def discrete_guide():
    pyro.sample("c", dist.Bernoulli(logits=pyro.param("l", torch.tensor(0.0))))


def normal_guide():
    pyro.sample("c", dist.Normal(pyro.param("l", torch.tensor(0.0)), 1.0))


def branch(c):
    return 3.0 if c > 0 else 0.0


def convert(c):
    return float(c)


def through_numpy(c):
    return torch.as_tensor(c.detach().numpy() * 2)


def as_a_list(c):
    return torch.tensor(c.tolist())


def selection(c):
    return torch.ones(3)[(torch.arange(3) < c)].sum()


def after_arithmetic(c):
    moved = torch.exp(c) - 1
    return 3.0 if moved.sum() > 0 else 0.0


WAYS = [branch, convert, through_numpy, as_a_list, selection, after_arithmetic]


@pytest.mark.parametrize("guide", [discrete_guide, normal_guide])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_draw_that_becomes_a_python_value(guide, way):
    prior = dist.Bernoulli(0.5) if guide is discrete_guide else dist.Normal(0.0, 1.0)

    def model():
        c = pyro.sample("c", prior)
        pyro.sample("x", dist.Normal(way(c), 1.0), obs=torch.tensor(2.5))

    with pytest.raises(CompileError) as caught:
        pg.compile(svi(model, guide)).step()
    message = str(caught.value)
    assert "test_control_flow.py, line" in message
    code = way.__code__
    lines = range(code.co_firstlineno, code.co_firstlineno + 4)
    assert any(f"line {line} " in message for line in lines), message
    if way in (branch, convert, selection, after_arithmetic):
        assert "site 'c'" in message


def test_nothing_has_changed_after_the_error():
    def model():
        c = pyro.sample("c", dist.Bernoulli(0.5))
        pyro.sample("x", dist.Normal(branch(c), 1.0), obs=torch.tensor(2.5))

    inference = svi(model, discrete_guide)
    with pytest.raises(CompileError):
        pg.compile(inference).step()
    assert parameters()["l"] == 0.0
    assert pyro.param("l").grad is None or pyro.param("l").grad == 0.0
    inference.step()  # plain steps go on
    assert parameters()["l"] != 0.0


def test_a_parameter_that_decides():
    def guide():
        loc = pyro.param("l", torch.tensor(0.5))
        scale = 2.0 if loc > 0 else 1.0
        pyro.sample("c", dist.Normal(loc, scale))

    def model():
        pyro.sample("c", dist.Normal(0.0, 1.0))

    with pytest.raises(CompileError, match=r"scale = 2\.0 if loc > 0 else 1\.0"):
        pg.compile(svi(model, guide)).step()


def test_an_argument_that_decides():
    def model(x):
        pyro.sample("c", dist.Normal(2.0 if x.sum() > 0 else 0.0, 1.0))

    def guide(x):
        normal_guide()

    with pytest.raises(CompileError, match=r"if x\.sum\(\) > 0"):
        pg.compile(svi(model, guide)).step(torch.ones(2))


def test_a_branch_on_shapes_and_numbers_is_no_branch_on_values():
    def model(x, flag):
        loc = x.sum() if x.shape[0] > 1 and flag else torch.tensor(0.0)
        pyro.sample("c", dist.Normal(loc, 1.0))

    def guide(x, flag):
        normal_guide()

    compiled = pg.compile(svi(model, guide))
    for flag in (True, False, True):
        compiled.step(torch.ones(2), flag)


def test_an_estimator_that_chooses_is_refused_by_name():
    def model():
        pyro.sample("c", dist.Bernoulli(0.5))

    with pytest.raises(CompileError, match=r"\"auto\" at site 'c'.*estimator_of"):
        pg.compile(svi(model, discrete_guide, estimators="auto")).step()
