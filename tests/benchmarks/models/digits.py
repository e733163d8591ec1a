"""What the autoencoders share: a hundred digits, a network with a hidden layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import linear

COUNT, PIXELS, HIDDEN = 100, 64, 128
# 8 x 8 pixels, black or white.
IMAGES = torch.tensor(load_digits().data[:COUNT] > 8).float()


def network(inputs: int, outputs: int) -> nn.Sequential:
    """As one writes it in torch."""
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, outputs)
    )


def weights(encoded: int, latents: int) -> dict[str, Tensor]:
    """Weights of an encoder and a decoder, the same ones every time."""
    own = torch.Generator().manual_seed(0)
    found = {}
    for name, inputs, outputs in (
        ("encoder", PIXELS, encoded),
        ("decoder", latents, PIXELS),
    ):
        for layer, wide, out in (("0", inputs, HIDDEN), ("2", HIDDEN, outputs)):
            drawn = torch.randn(out, wide, generator=own) / math.sqrt(wide)
            found[f"{name}.{layer}.weight"] = drawn
            found[f"{name}.{layer}.bias"] = torch.zeros(out)
    return found


def loaded(module: nn.Sequential, name: str, start: Mapping[str, Tensor]) -> Any:
    """Give a network the weights of that name."""
    prefix = f"{name}."
    own = {n.removeprefix(prefix): w for n, w in start.items() if n.startswith(prefix)}
    module.load_state_dict(own)
    return module


def apply(params: Mapping[str, Tensor], name: str, inputs: Tensor) -> Tensor:
    """Apply the network of that name, given as weights."""
    first = linear(inputs, params[f"{name}.0.weight"], params[f"{name}.0.bias"])
    return linear(first.tanh(), params[f"{name}.2.weight"], params[f"{name}.2.bias"])


def params_in_numpyro(start: Mapping[str, Tensor], name: str) -> Any:
    """The network of that name as NumPyro's parameters; returns a function."""
    import jax.numpy as jnp
    import numpyro

    found = {
        n: numpyro.param(n, jnp.array(w.numpy()))
        for n, w in start.items()
        if n.startswith(name)
    }

    def forward(inputs: Any) -> Any:
        first = inputs @ found[f"{name}.0.weight"].T + found[f"{name}.0.bias"]
        return jnp.tanh(first) @ found[f"{name}.2.weight"].T + found[f"{name}.2.bias"]

    return forward
