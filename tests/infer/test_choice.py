"""Which estimator a site gets, where what it draws from is wrapped or changes."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import constraints

import pgplugins as pg


class Plain(dist.TorchDistribution):
    """A law that leaves it to Pyro to expand it."""

    arg_constraints = {}  # noqa: RUF012
    support = constraints.real
    has_rsample = True

    def __init__(self, loc):
        self.loc = loc
        super().__init__(loc.shape, validate_args=False)

    def rsample(self, sample_shape=()):
        return self.loc + torch.randn(torch.Size(sample_shape) + self.batch_shape)

    def log_prob(self, value):
        return dist.Normal(self.loc, 1.0).log_prob(value)


class Special(Plain):
    pass


ON = torch.tensor(True)


@pytest.mark.parametrize(
    "law",
    [
        lambda loc: Special(loc),
        lambda loc: Special(loc).expand([3]),
        lambda loc: Special(loc).mask(ON),
        lambda loc: Special(loc).mask(ON).expand([3]),
        lambda loc: Special(loc).expand([3, 2]).to_event(1),
    ],
)
def test_a_type_is_found_under_what_wraps_it(law):
    def program():
        with pyro.plate("n", 3):
            x = pyro.sample("x", law(torch.zeros(())))
            pg.cost("c", x.sum(-1) if x.dim() > 1 else x)

    for kind in (Special, Plain):
        objective = pg.ExpectedCost(estimators={kind: "score_function"})
        objective(program)
        assert objective.estimator_of("x").name == "score_function"


def test_the_most_specific_type_decides():
    rules = {Plain: "score_function", Special: "reparameterized"}
    objective = pg.ExpectedCost(estimators=rules)

    def program():
        with pyro.plate("n", 3):
            pg.cost("c", pyro.sample("x", Special(torch.zeros(()))))

    objective(program)
    assert objective.estimator_of("x").name == "reparameterized"


def test_a_choice_that_comes_back_is_the_one_that_draws():
    """A bound copy that has gone must not be recalled: its state is in no checkpoint.

    Uniform's score may not fit when its bounds move, so that the second choice is
    looked at anew at every run, and the first is not.
    """
    objective = pg.ExpectedCost()

    def run(name):
        def program():
            law = dist.Uniform(torch.tensor(0.0), torch.tensor(1.0))
            x = pyro.sample("x", law, infer={"estimator": name})
            pg.cost("c", x)

        objective(program)
        return objective.estimator_of("x").name

    names = ["reparameterized", "score_function", "reparameterized"]
    assert [run(name) for name in names] == names
