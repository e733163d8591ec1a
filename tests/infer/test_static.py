"""Dependencies that are found once: the same gradients, also when the shape changes."""

import pyro
import pyro.distributions as dist
import torch

import pgplugins as pg


def model(data):
    with pyro.plate("N", len(data)):
        z = pyro.sample("z", dist.Bernoulli(torch.full((len(data),), 0.4)))
        pyro.sample("x", dist.Normal(2 * z, 1.0), obs=data)
    pyro.sample("w", dist.Bernoulli(0.3))


def guide(data):
    logit = pyro.param("logit", torch.tensor(0.2))
    with pyro.plate("N", len(data)):
        pyro.sample("z", dist.Bernoulli(logits=logit.expand(len(data))))
    pyro.sample("w", dist.Bernoulli(logits=pyro.param("w_logit", torch.tensor(-0.4))))


def gradient(elbo, data, seed):
    pyro.set_rng_seed(seed)
    pyro.get_param_store().clear()
    elbo.loss_and_grads(model, guide, data)
    store = pyro.get_param_store()
    return torch.stack(
        [store[name].unconstrained().grad for name in ("logit", "w_logit")]
    )


def test_a_new_shape_is_met_without_running_twice():
    """Its first run counts everything as downstream, from then on as without static."""
    runs = []
    static = pg.ELBO(estimators="score_function", static=True)
    sound = pg.ELBO(estimators="score_function")
    plates = pg.ELBO(estimators="score_function", dependencies="plates")
    whole, part = torch.tensor([0.3, 1.9, 2.2]), torch.tensor([1.7, -0.4])
    expected = [sound, sound, plates, sound, sound, sound]
    for seed, (data, like) in enumerate(
        zip([whole, whole, part, part, part, whole], expected, strict=True)
    ):
        found = gradient(static, data, seed)
        torch.testing.assert_close(found, gradient(like, data, seed))
        runs.append((gradient(plates, data, seed) - gradient(sound, data, seed)).norm())
    assert min(runs) > 0.01, "the two ways differ, so the comparison tells them apart"
