"""Rollouts of many steps: work and memory per step do not grow with the horizon.

Counted, not timed: bytecode instructions see every loop of Python's, kernels every
operation of torch's. ``python -m tests.benchmarks.estimators --only rollouts`` times
the same.
"""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pgplugins as pg
from tests.benchmarks.rollouts import KINDS, work_of

SHORT, LONG = 40, 160


@pytest.mark.parametrize("kind", KINDS)
def test_work_and_memory_per_step_are_flat(kind):
    short, long = work_of(kind, SHORT), work_of(kind, LONG)
    for what, slack in {
        "instructions": 1.01,
        "kernels": 1.01,
        "saved_bytes": 1.05,  # the first step has no path behind it
        # The sets of sites grow by a bit per step.
        "python_bytes": 1.15,
    }.items():
        ratio = getattr(long, what) / LONG / (getattr(short, what) / SHORT)
        assert ratio < slack, f"{what} per step grew {ratio:.3f} times"


def test_a_thousand_steps_are_not_too_deep():
    """The graph of a long rollout is a chain, which must not be walked recursively."""
    push = torch.tensor(0.01, requires_grad=True)

    def program():
        position = torch.zeros(())
        for t in range(3000):
            position = position + pyro.sample(f"u{t}", dist.Normal(push, 0.001))
        pg.cost("end", position)

    for name in ("score_function", "hybrid"):
        objective = pg.ExpectedCost(estimators=name, num_particles=2)
        (gradient,) = torch.autograd.grad(objective(program), push)
        assert gradient.isfinite()
    # The path of a linear cost is exact, and the hybrid starts with it.
    assert gradient.item() == pytest.approx(3000, rel=1e-4)
