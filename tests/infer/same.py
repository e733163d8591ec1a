"""Two objectives on one program at equal seeds: the same loss, the same gradient."""

import pyro
import torch
from pyro.infer import Trace_ELBO, TraceGraph_ELBO

import pgplugins as pg

TOLERANCE = 1e-10


def plain_score():
    """The score function as Trace_ELBO has it: without a baseline."""
    return pg.estimator("score_function", baseline=None)


def scored_like_pyro(site):
    """Pyro's choice of estimator: by ``has_rsample``, and never a baseline."""
    return None if site.dist.has_rsample else plain_score()


def ours(**arguments):
    """An objective that should equal Trace_ELBO sample by sample."""
    arguments.setdefault("dependencies", "plates")
    return pg.ELBO(estimators=scored_like_pyro, **arguments)


def step(elbo, model, guide, *args, seed=0, **kwargs):
    """Loss and gradients by parameter name, from a fresh store."""
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    loss = elbo.loss_and_grads(model, guide, *args, **kwargs)
    return loss, gradients(model, guide)


def gradients(*modules):
    """Gradients by name, of the store and of torch modules."""
    store = pyro.get_param_store()
    found = {name: param.grad for name, param in store._params.items()}
    for module in modules:
        if isinstance(module, torch.nn.Module):
            for name, param in module.named_parameters():
                found.setdefault(name, param.grad)
    taken = {k: None if g is None else g.clone() for k, g in found.items()}
    for module in modules:
        if isinstance(module, torch.nn.Module):
            module.zero_grad()
    return taken


def assert_same(one, other, tolerance=TOLERANCE):
    """Compare two results of :func:`step`."""
    (loss, grads), (their_loss, their_grads) = one, other
    assert abs(loss - their_loss) <= tolerance * max(1.0, abs(their_loss))
    assert grads.keys() == their_grads.keys()
    assert any(g is not None and bool(g.any()) for g in their_grads.values())
    for name, theirs in their_grads.items():
        mine = grads[name]
        if theirs is None or mine is None:
            # Pyro leaves None where a parameter was not reached at all.
            absent = mine if theirs is None else theirs
            assert absent is None or not absent.any(), name
            continue
        torch.testing.assert_close(
            mine, theirs, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: n + m
        )


def assert_like_trace_elbo(
    model, guide, *args, seeds=3, tolerance=TOLERANCE, **arguments
):
    """``pg.ELBO`` and ``Trace_ELBO`` agree at every seed, in gradient and loss."""
    for seed in range(seeds):
        mine = step(ours(**arguments), model, guide, *args, seed=seed)
        theirs = step(Trace_ELBO(**arguments), model, guide, *args, seed=seed)
        assert_same(mine, theirs, tolerance)
        pyro.set_rng_seed(seed)
        only = ours(**arguments).loss(model, guide, *args)
        assert abs(only - theirs[0]) <= tolerance * max(1.0, abs(only))


def assert_like_tracegraph_elbo(model, guide, *args, seeds=3, **arguments):
    """With sound dependencies and no control flow, ``TraceGraph_ELBO``'s gradient."""
    for seed in range(seeds):
        mine = step(
            ours(dependencies="provenance", **arguments), model, guide, *args, seed=seed
        )
        theirs = step(TraceGraph_ELBO(**arguments), model, guide, *args, seed=seed)
        assert_same(mine, theirs)
