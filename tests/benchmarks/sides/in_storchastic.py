"""Storchastic, where it is installed: the autoencoders that it gets right.

In its release 0.3.7 DisARM does not run. Install it with ``pip install --no-deps
storchastic entmax``: with its dependencies it asks for an older torch.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal
from torch.nn.functional import softplus

from tests.benchmarks.models import digits
from tests.benchmarks.models.digits import COUNT, IMAGES, PIXELS
from tests.benchmarks.rows import STORCHASTIC, Build, Steps

HERE = find_spec("storch") is not None and find_spec("entmax") is not None
Start = Callable[[], dict[str, Tensor]]


def gaussian(start: Start, latents: int) -> dict[str, Build]:
    """Normal latents, along the path."""

    def method(particles: int) -> Any:
        from storch.method import Reparameterization

        return Reparameterization("code", n_samples=particles)

    def cost(encoded: Any, method: Any) -> tuple[Any, Any]:
        loc, log_scale = encoded[..., :latents], encoded[..., latents:]
        code = method(Normal(loc, log_scale.exp()))
        noise = (code - loc) / log_scale.exp()
        return code, ((code**2 - noise**2) / 2 - log_scale).sum(-1)

    return _side(start, 2 * latents, latents, method, cost)


def bernoulli(start: Start, latents: int, name: str) -> dict[str, Build]:
    """Bernoulli latents with a uniform prior.

    Args:
        start: Makes the weights.
        latents: How many there are.
        name: ``"Expect"`` to enumerate, or ``"ScoreFunction"``.
    """

    def method(particles: int) -> Any:
        from storch import method as methods

        if name == "Expect":
            return methods.Expect("code")
        baseline = "batch_average" if particles > 1 else None
        return methods.ScoreFunction(
            "code", n_samples=particles, baseline_factory=baseline
        )

    def cost(encoded: Any, method: Any) -> tuple[Any, Any]:
        code = method(Bernoulli(logits=encoded))
        prior = latents * torch.log(torch.tensor(2.0))
        return code, (code * encoded - softplus(encoded)).sum(-1) + prior

    return _side(start, latents, latents, method, cost)


def _side(
    start: Start,
    encoded: int,
    latents: int,
    make_method: Callable[[int], Any],
    log_ratio: Callable[[Any, Any], tuple[Any, Any]],
) -> dict[str, Build]:
    def build(particles: int, rate: float) -> Steps:
        import storch

        encoder = digits.loaded(digits.network(PIXELS, encoded), "encoder", start())
        decoder = digits.loaded(digits.network(latents, PIXELS), "decoder", start())
        weights = [*encoder.parameters(), *decoder.parameters()]
        optimizer = torch.optim.Adam(weights, lr=rate, fused=True)
        method = make_method(particles)

        def step() -> float:
            optimizer.zero_grad()
            storch.reset()
            images = storch.denote_independent(IMAGES, 0, "images")
            code, ratio = log_ratio(encoder(images), method)
            logits = decoder(code)
            log_likelihood = (images * logits - softplus(logits)).sum(-1)
            # It takes the mean over images.
            storch.add_cost(COUNT * (ratio - log_likelihood), "bound")
            found = storch.backward()
            optimizer.step()
            return float(found)

        return Steps(step)

    return {STORCHASTIC: build} if HERE else {}
