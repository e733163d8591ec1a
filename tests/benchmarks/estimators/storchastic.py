"""The same autoencoder in Storchastic, where it is installed.

Left out is what has another mean than the gradient in its release 0.3.7: DisARM (which
does not run here besides), REBAR and the unordered set. Install it with ``pip install
--no-deps storchastic entmax``: with its dependencies it asks for an older torch.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from torch.distributions import Bernoulli
from torch.nn.functional import softplus

from tests.benchmarks.estimators.autoencoder import IMAGES, Autoencoder, Backward

HERE = find_spec("storch") is not None and find_spec("entmax") is not None


def theirs(network: Autoencoder) -> dict[str, Backward]:
    """What leaves a gradient behind, by name."""
    import storch
    from storch.method import ScoreFunction

    def loss(make: Callable[[], object]) -> Backward:
        method = make()

        def backward() -> float:
            storch.reset()
            images = storch.denote_independent(network.images, 0, "images")
            logits = network.encoder(images)
            code = method(Bernoulli(logits=logits))  # type: ignore[operator]
            drawn = (code * logits - softplus(logits)).sum(-1)
            # It takes the mean over images.
            storch.add_cost(IMAGES * (network.misfit(code) + drawn), "bound")
            return float(storch.backward())

        return backward

    return {
        "Storchastic score, 2": loss(
            lambda: ScoreFunction("code", n_samples=2, baseline_factory="batch_average")
        ),
    }
