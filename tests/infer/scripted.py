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


def paths(run):
    """Yield the probability and the result of every path of ``run``."""
    global _script
    told, mass = [], 0.0
    while told is not None:
        _script = _Script()
        _script.told = told
        result = run()
        yield _script.probability, result
        mass += _script.probability
        told = _next(_script.drawn)
    assert abs(mass - 1) < 1e-9, f"the paths' probabilities sum to {mass}"


def _next(drawn):
    """The next path in the order of binary counting, from the last draw."""
    path = list(drawn)
    while path and path[-1] == 1:
        path.pop()
    if not path:
        return None
    path[-1] = 1
    return path


def parameters():
    """The store's unconstrained tensors, in the order of their names."""
    return [p for _, p in sorted(pyro.get_param_store()._params.items())]


def flat(gradients):
    """One vector of gradients of :func:`parameters`; what was not reached is zero."""
    return torch.cat(
        [
            (torch.zeros_like(p) if g is None else g).reshape(-1)
            for p, g in zip(parameters(), gradients, strict=True)
        ]
    )


def moments(elbo, model, guide, *args):
    """Run every path; the gradients are flattened over all parameters in the store."""

    def run():
        for parameter in parameters():
            parameter.grad = None
        loss = elbo.loss_and_grads(model, guide, *args)
        return flat([p.grad for p in parameters()]), loss

    mean = square = loss = 0.0
    for probability, (gradient, value) in paths(run):
        mean = mean + probability * gradient
        square = square + probability * gradient**2
        loss = loss + probability * value
    return Moments(mean, square - mean**2, loss)


def exact_loss(model, guide, *args):
    """The exact loss as a function of the parameters: no estimator is involved.

    Every path's loss is weighted by the path's probability, and both are attached.
    """

    def run():
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
        return log_q.exp() * cost

    return sum(part for _, part in paths(run))


def exact(model, guide, *args):
    """The exact gradient of the loss, and the exact loss."""
    loss = exact_loss(model, guide, *args)
    found = torch.autograd.grad(loss, parameters(), allow_unused=True)
    return flat(found), loss.item()


def _element(fn):
    while not isinstance(fn, Coin) and hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return fn
