"""A Bernoulli autoencoder with 200 latents: the estimators beside torch by hand.

Scikit-learn's digits, 8 x 8 pixels set to black or white, a hundred of them per step.
Everybody takes the gradient of the same bound for the same network.
"""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    logsigmoid,
    softplus,
)

import pgplugins as pg

LATENTS, IMAGES, HIDDEN = 200, 100, 128
Loss = Callable[[], Tensor]
Backward = Callable[[], float]

ESTIMATORS: dict[str, tuple[str, dict[str, object], int]] = {
    # name of the row: estimator, its options, particles
    "score_function, 2": ("score_function", {}, 2),
    "disarm": ("disarm", {}, 1),
    "rebar": ("rebar", {}, 1),
    "rebar, not tuned": ("rebar", {"tune": False}, 1),
    "relax": ("relax", {}, 1),
    "gumbel_softmax": ("gumbel_softmax", {}, 1),
    "straight_through": ("straight_through", {}, 1),
    "reinmax": ("reinmax", {}, 1),
}


class Autoencoder(nn.Module):
    """One hidden layer each way, for one batch of images."""

    def __init__(self) -> None:
        super().__init__()
        pixels = torch.tensor(load_digits().data > 8).float()
        self.register_buffer("images", pixels[:IMAGES])
        self.images: Tensor
        width = pixels.shape[1]
        self.encoder = nn.Sequential(
            nn.Linear(width, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, LATENTS)
        )
        self.decoder = nn.Sequential(
            nn.Linear(LATENTS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, width)
        )

    def model(self) -> None:
        """Fair coins, decoded."""
        pyro.module("decoder", self.decoder)
        with pyro.plate("images", IMAGES):
            prior = dist.Bernoulli(torch.full((LATENTS,), 0.5)).to_event(1)
            code = pyro.sample("code", prior)
            pixels = dist.Bernoulli(logits=self.decoder(code)).to_event(1)
            pyro.sample("pixels", pixels, obs=self.images)

    def guide(self) -> None:
        """A coin for every latent, decided by the image."""
        pyro.module("encoder", self.encoder)
        with pyro.plate("images", IMAGES):
            logits = self.encoder(self.images)
            pyro.sample("code", dist.Bernoulli(logits=logits).to_event(1))

    def misfit(self, code: Tensor) -> Tensor:
        """``-log p(image, code)`` by image; the code may have rows on the left."""
        logits = self.decoder(code)
        pixels = binary_cross_entropy_with_logits(
            logits, self.images.expand_as(logits), reduction="none"
        )
        prior = LATENTS * torch.log(torch.tensor(2.0))
        return pixels.sum(-1) + prior


def ours(network: Autoencoder) -> dict[str, Loss]:
    """The ELBO's loss by estimator; what they learn stays with them."""

    def loss(name: str, options: dict[str, object], particles: int) -> Loss:
        elbo = pg.ELBO(
            num_particles=particles,
            vectorize_particles=particles > 1,
            max_plate_nesting=1,
            estimators=pg.estimator(name, **options),
        )
        return lambda: elbo.differentiable_loss(network.model, network.guide)

    return {row: loss(*entry) for row, entry in ESTIMATORS.items()}


def by_hand(network: Autoencoder) -> dict[str, Loss]:
    """The same in plain torch, as one would write it for this network alone."""

    def log_q(code: Tensor, logits: Tensor) -> Tensor:
        return (code * logits - softplus(logits)).sum(-1)

    def leave_one_out() -> Tensor:
        logits = network.encoder(network.images)
        code = torch.bernoulli(logits.detach().sigmoid().expand(2, -1, -1))
        score = log_q(code, logits)
        cost = network.misfit(code) + score.detach()
        advantage = (cost - cost.flip(0)).detach()
        return (cost + advantage * (score - score.detach())).mean(0).sum()

    def disarm() -> Tensor:
        logits = network.encoder(network.images)
        uniform, held = torch.rand_like(logits), logits.detach()
        probs = held.sigmoid()
        code = torch.stack([uniform < probs, 1 - uniform < probs]).float()
        cost = network.misfit(code) + log_q(code, logits)
        half = (cost[0] - cost[1]).detach() / 2
        direction = (code[0] - code[1]) * held.abs().sigmoid()
        term = half * (direction * (logits - held)).sum(-1)
        return (cost.mean(0) + term).sum()

    def rebar(temperature: float = 0.5) -> Tensor:
        logits = network.encoder(network.images)
        held = logits.detach()
        own = held.clone().requires_grad_()
        uniform, other = torch.rand_like(own), torch.rand_like(own)
        free = own + uniform.logit(1e-6)
        hard = (free > 0).float()
        # Another latent given the choice: its uniform lies on the choice's side.
        below = (-own).sigmoid()
        given_choice = torch.where(hard > 0, below + (1 - below) * other, below * other)
        given = own + given_choice.logit(1e-6)
        soft = [(latent / temperature).sigmoid() for latent in (free, given)]
        rows = torch.stack([hard, *soft])
        cost = network.misfit(rows)
        bound = cost + (rows * held + logsigmoid(-held)).sum(-1)
        (path,) = torch.autograd.grad(
            (bound[1] - bound[2]).sum(), own, retain_graph=True
        )
        score = hard - held.sigmoid()
        rest = (bound[0] - bound[2]).detach().unsqueeze(-1)
        gradient = rest * score + path
        term = (gradient * (logits - held)).sum(-1)
        return (cost[0] + term).sum()

    return {
        "leave-one-out by hand, 2": leave_one_out,
        "DisARM by hand": disarm,
        "REBAR by hand, not tuned": rebar,
    }


def rows(network: Autoencoder) -> dict[str, Backward]:
    """Everybody, by name: a call leaves the gradient of the loss that it returns.

    Leave-one-out by hand is first: the others are held against it.
    """
    losses = {**by_hand(network), **ours(network)}

    def backward(loss: Loss) -> Backward:
        def run() -> float:
            found = loss()
            found.backward()
            return found.item()

        return run

    found = {name: backward(loss) for name, loss in losses.items()}
    from tests.benchmarks.estimators import storchastic

    return {**found, **storchastic.theirs(network)} if storchastic.HERE else found


def trained(steps: int = 200) -> Autoencoder:
    """A network that some steps of Adam have trained."""
    network = Autoencoder()
    take = step(network, rows(network)["DisARM by hand"])
    for _ in range(steps):
        take()
    return network


def step(network: Autoencoder, backward: Backward) -> Backward:
    """One step of Adam on all weights."""
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)

    def take() -> float:
        adam.zero_grad()
        loss = backward()
        adam.step()
        return loss

    return take


def steps() -> dict[str, Backward]:
    """A step by everybody, on one network."""
    network = Autoencoder()
    return {name: step(network, row) for name, row in rows(network).items()}


class Moments:
    """Mean and total variance of an encoder's gradients, per image."""

    def __init__(self, gradients: Tensor) -> None:
        self.count = len(gradients)
        self.mean = gradients.mean(0)
        self.variance = gradients.var(0).sum().item()

    def off(self, other: Moments) -> float:
        """How far the means are apart, as a share of the other's; noise removed."""
        noise = self.variance / self.count + other.variance / other.count
        apart = (self.mean - other.mean).square().sum().item() - noise
        size = other.mean.square().sum().item() - other.variance / other.count
        return (max(apart, 0.0) / size) ** 0.5


def moments(
    network: Autoencoder, backward: Backward, lessons: int, repeats: int
) -> Moments:
    """Measure gradients where the network is, after an estimator has learned there."""
    weights = list(network.encoder.parameters())
    found = []
    for i in range(lessons + repeats):
        network.zero_grad()
        backward()
        if i >= lessons:
            parts = [w.grad.detach().flatten() for w in weights if w.grad is not None]
            found.append(torch.cat(parts) / IMAGES)
    return Moments(torch.stack(found))
