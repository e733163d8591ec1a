"""Exact moments of an estimate: every path that a program's coins can take is run.

A :class:`Coin` is a Bernoulli whose draws are told by a script. Running a program once
for every script, weighted by the probability of its draws, gives the mean and the
variance of any estimate without sampling error.
"""

from typing import NamedTuple

import pyro
import pyro.distributions as dist
import torch

from pgplugins.core.provenance import plain


class _Script:
    """Draws so far on this path, and what was decided for the next ones."""

    def __init__(self):
        self.told = []
        self.drawn = []
        self.probability = 1.0

    def next(self, probs):
        position = len(self.drawn)
        bit = self.told[position] if position < len(self.told) else 0
        self.drawn.append(bit)
        self.probability *= probs if bit else 1 - probs
        return bit


_script = _Script()


class Coin(dist.Bernoulli):
    """A Bernoulli that draws what the script says."""

    def sample(self, sample_shape=()):
        shape = self._extended_shape(torch.Size(sample_shape))
        probs = plain(self.probs.detach()).expand(shape).reshape(-1)
        bits = [_script.next(p) for p in probs.tolist()]
        return torch.tensor(bits, dtype=probs.dtype).reshape(shape)


class Moments(NamedTuple):
    """Exact mean and variance of an estimated gradient, and the mean of the loss."""

    mean: torch.Tensor
    variance: torch.Tensor
    loss: float


def moments(elbo, model, guide, *args):
    """Run every path; the gradients are flattened over all parameters in the store."""
    global _script
    told = []
    total = square = None
    loss = mass = 0.0
    while told is not None:
        _script = _Script()
        _script.told = told
        for parameter in pyro.get_param_store()._params.values():
            parameter.grad = None
        value = elbo.loss_and_grads(model, guide, *args)
        store = pyro.get_param_store()._params
        gradient = torch.cat(
            [
                (torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1)
                for _, p in sorted(store.items())
            ]
        )
        p = _script.probability
        total = p * gradient + (0 if total is None else total)
        square = p * gradient**2 + (0 if square is None else square)
        loss, mass = loss + p * value, mass + p
        told = _next(_script.drawn)
    assert abs(mass - 1) < 1e-9, f"the paths' probabilities sum to {mass}"
    return Moments(total, square - total**2, loss)


def _next(drawn):
    """The next path in the order of binary counting, from the last draw."""
    path = list(drawn)
    while path and path[-1] == 1:
        path.pop()
    if not path:
        return None
    path[-1] = 1
    return path


def exact(model, guide, *args):
    """The exact gradient of the loss, from the exact loss of every path.

    The loss is summed over all paths weighted by their probability *as a function of
    the parameters*, which autograd differentiates: no estimator is involved.
    """
    global _script
    told = []
    total = 0.0
    while told is not None:
        _script = _Script()
        _script.told = told
        guide_trace = pyro.poutine.trace(guide).get_trace(*args)
        model_trace = pyro.poutine.trace(
            pyro.poutine.replay(model, trace=guide_trace)
        ).get_trace(*args)
        log_q = sum(
            _element(site["fn"]).log_prob(site["value"]).sum()
            for site in guide_trace.nodes.values()
            if site["type"] == "sample"
            and not site["is_observed"]
            and isinstance(_element(site["fn"]), Coin)
        )
        cost = guide_trace.log_prob_sum() - model_trace.log_prob_sum()
        total = total + log_q.exp() * cost
        told = _next(_script.drawn)
    store = pyro.get_param_store()._params
    leaves = [p for _, p in sorted(store.items())]
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    gradient = torch.cat(
        [
            (torch.zeros_like(p) if g is None else g).reshape(-1)
            for p, g in zip(leaves, found, strict=True)
        ]
    )
    return gradient, total.item()


def _element(fn):
    while not isinstance(fn, Coin) and hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return fn
