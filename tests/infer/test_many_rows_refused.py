"""Programs in which a site's rows cannot be followed are refused, naming the site."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg

PYTHON_ROUTES = {
    "if": lambda c: 3.0 if (c > 0).any() else 0.0,
    "item": lambda c: c.sum().item(),
    "float": lambda c: float(c.sum()),
    "tolist": lambda c: c.tolist(),
    "numpy": lambda c: c.numpy(),
    "an index": lambda c: [0.0, 1.0, 2.0][c.sum().long()],
    "a mask": lambda c: torch.ones(2)[c.bool()],
    "nonzero": lambda c: c.nonzero(),
    "a buffer": lambda c: torch.zeros(2).copy_(c),
    "vmap": lambda c: torch.vmap(lambda t: 3 * t)(c),
}


def plated(joins):
    """A plate of enumerated coins, and a cost that joins them all."""

    def model():
        with pyro.plate("N", 3):
            c = pyro.sample("c", dist.Bernoulli(0.3))
        joins(c)

    def guide():
        with pyro.plate("N", 3):
            pyro.sample("c", dist.Bernoulli(logits=pyro.param("p", torch.zeros(3))))

    return model, guide


def observed(c):
    pyro.sample("x", dist.Normal(c.sum(-1, True), 1.0), obs=torch.tensor([1.5]))


def factored(c):
    pyro.factor("x", -c.mean(-1, True))


def sampled(c):
    with pyro.plate("M", 2, dim=-2):
        total = c.sum(-1, keepdim=True)
        pyro.sample("x", dist.Normal(total, 1.0), obs=torch.ones(2, 1))


@pytest.mark.parametrize("joins", [observed, factored, sampled])
def test_a_cost_that_joins_the_elements_of_a_plate(joins):
    with pytest.raises(pg.PgpluginsError, match=r"'c'.*plate 'N'.*'x' joins.*to_event"):
        pg.ELBO(estimators="enumerate").loss_and_grads(*plated(joins))


def test_a_parent_of_the_plates_elements_is_no_such_cost():
    def model():
        with pyro.plate("N", 3):
            c = pyro.sample("c", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(c, 1.0), obs=torch.ones(3))

    _, guide = plated(observed)
    assert pg.ELBO(estimators="enumerate").loss_and_grads(model, guide) > 0


@pytest.mark.parametrize("name", PYTHON_ROUTES)
def test_a_value_that_python_takes(name):
    """Python can follow one row only; Pyro's TraceEnum_ELBO fails in torch, or not."""

    def model():
        c = pyro.sample("c", dist.Bernoulli(0.5))
        PYTHON_ROUTES[name](c)

    def guide():
        pyro.sample("c", dist.Bernoulli(logits=pyro.param("l", torch.zeros(()))))

    elbo = pg.ELBO(estimators="enumerate", max_plate_nesting=0)
    with pytest.raises(
        pg.PgpluginsError, match=r"site 'c' .*several rows.*torch\.where"
    ):
        elbo.loss_and_grads(model, guide)


def test_the_site_that_is_named_is_the_one_that_was_enumerated():
    def model():
        a = pyro.sample("a", dist.Bernoulli(0.5))
        b = pyro.sample("b", dist.Bernoulli(0.5))
        if a * b > 0:
            pyro.factor("f", torch.tensor(1.0))

    def guide():
        p = pyro.param("p", torch.zeros(2))
        pyro.sample("a", dist.Bernoulli(logits=p[0]))
        pyro.sample("b", dist.Bernoulli(logits=p[1]))

    elbo = pg.ELBO(estimators={"b": "enumerate"}, max_plate_nesting=0)
    with pytest.raises(pg.PgpluginsError, match="depends on site 'b' into"):
        elbo.loss_and_grads(model, guide)


def test_printing_rows_is_allowed(capsys):
    def model():
        c = pyro.sample("c", dist.Bernoulli(0.5))
        print(c)

    def guide():
        pyro.sample("c", dist.Bernoulli(logits=pyro.param("l", torch.zeros(()))))

    pg.ELBO(estimators="enumerate", max_plate_nesting=0).loss_and_grads(model, guide)
    assert capsys.readouterr().out == "tensor([0., 1.])\n"


def test_too_few_plates_promised():
    def program():
        with pyro.plate("N", 2, dim=-1), pyro.plate("M", 3, dim=-2):
            logits = pyro.param("p", torch.zeros(3, 2))
            pyro.sample("c", dist.Bernoulli(logits=logits))

    elbo = pg.ELBO(estimators="enumerate", max_plate_nesting=1)
    with pytest.raises(pg.PgpluginsError, match=r"'c'.*max_plate_nesting=1"):
        elbo.loss_and_grads(program, program)


def test_too_large_a_support():
    def program():
        logits = pyro.param("p", torch.zeros(20))
        pyro.sample("c", dist.Bernoulli(logits=logits).to_event(1))

    with pytest.raises(pg.PgpluginsError, match=r"2\^20 = 1048576 points.*max_rows"):
        pg.ELBO(estimators="enumerate").loss_and_grads(program, program)
