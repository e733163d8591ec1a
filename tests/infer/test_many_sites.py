"""Programs of many sites: the work per site does not grow with their number.

Counted, not timed: bytecode instructions see every loop of Python's, kernels every
operation of torch's.
"""

import sys

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import pgplugins as pg

SHORT, LONG = 50, 200


def chain(sites):
    """Every coin depends on the one before."""

    def model():
        z = torch.zeros(())
        for i in range(sites):
            z = pyro.sample(f"z{i}", dist.Bernoulli(torch.sigmoid(z * 0.5)))
        pyro.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(1.0))

    def guide():
        logits = pyro.param("logits", torch.zeros(sites)).unbind()
        for i in range(sites):
            pyro.sample(f"z{i}", dist.Bernoulli(logits=logits[i]))

    return model, guide


def mixture(sites):
    """Global and plated latents by turns, each with observations of its own."""

    def model():
        for i in range(sites // 2):
            c = pyro.sample(f"c{i}", dist.Bernoulli(0.3))
            with pyro.plate(f"data{i}", 3):
                z = pyro.sample(f"z{i}", dist.Bernoulli(0.2 + 0.5 * c))
                pyro.sample(f"x{i}", dist.Normal(z, 1.0), obs=torch.ones(3))

    def guide():
        logits = pyro.param("logits", torch.zeros(sites // 2, 4)).unbind()
        for i in range(sites // 2):
            pyro.sample(f"c{i}", dist.Bernoulli(logits=logits[i][0]))
            with pyro.plate(f"data{i}", 3):
                pyro.sample(f"z{i}", dist.Bernoulli(logits=logits[i][1:]))

    return model, guide


def shared(sites):
    """Plated latents that all depend on one global latent, and one that joins them."""

    def model():
        c = pyro.sample("c", dist.Bernoulli(0.3))
        total = torch.zeros(3)
        with pyro.plate("data", 3):
            for i in range(sites - 1):
                z = pyro.sample(f"z{i}", dist.Bernoulli(0.2 + 0.5 * c))
                total = total + z
            pyro.sample("x", dist.Normal(total, 1.0), obs=torch.ones(3))

    def guide():
        logits = pyro.param("logits", torch.zeros(sites, 3)).unbind()
        pyro.sample("c", dist.Bernoulli(logits=logits[0][0]))
        with pyro.plate("data", 3):
            for i in range(sites - 1):
                pyro.sample(f"z{i}", dist.Bernoulli(logits=logits[i + 1]))

    return model, guide


class Kernels(TorchDispatchMode):
    """Counts torch's operations."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def work(program, sites, options):
    """Return instructions and kernels of a gradient, once the program is known."""
    pyro.clear_param_store()
    pair = program(sites)
    elbo = pg.ELBO(max_plate_nesting=1, **options)
    for _ in range(4):
        elbo.loss_and_grads(*pair)
    with Kernels() as kernels:
        elbo.loss_and_grads(*pair)
    instructions = 0

    def trace(frame, event, _):
        nonlocal instructions
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        instructions += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        elbo.loss_and_grads(*pair)
    finally:
        sys.settrace(before)
    return instructions, kernels.count


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("how", ["sound", "static"])
@pytest.mark.parametrize("program", [chain, mixture, shared])
def test_work_per_site_is_flat(program, how, validation):
    options = {"estimators": "score_function", "static": how == "static"}
    with pyro.validation_enabled(validation):
        short, long = (work(program, n, options) for n in (SHORT, LONG))
    for what, few, many in zip(("instructions", "kernels"), short, long, strict=True):
        ratio = many / LONG / (few / SHORT)
        assert ratio < 1.02, f"{what} per site grew {ratio:.3f} times"
