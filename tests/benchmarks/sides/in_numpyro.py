"""NumPyro, where it is installed: the jitted update, and runs in a compiled scan."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

from tests.benchmarks.rows import NUMPYRO, Build, Steps

HERE = find_spec("numpyro") is not None


def in_numpyro(
    pair: Callable[[], tuple[Any, Any]], elbo: str = "Trace_ELBO"
) -> dict[str, Build]:
    """NumPyro's side.

    Args:
        pair: Makes model and guide, importing NumPyro itself.
        elbo: The name of the objective.
    """

    def build(particles: int, rate: float) -> Steps:
        import jax
        import numpyro
        from numpyro import infer

        objective = getattr(infer, elbo)(num_particles=particles)
        svi = infer.SVI(*pair(), numpyro.optim.Adam(rate), objective)
        state = svi.init(jax.random.PRNGKey(0))
        update = jax.jit(svi.update)

        @partial(jax.jit, static_argnums=1)
        def scan(state: Any, steps: int) -> Any:
            take = lambda state, _: svi.update(state)  # noqa: E731
            return jax.lax.scan(take, state, None, length=steps)

        def step() -> float:
            nonlocal state
            state, loss = update(state)
            return float(loss)

        def run(steps: int) -> Any:
            nonlocal state
            state, losses = scan(state, steps)
            return jax.block_until_ready(losses)

        return Steps(step, run)

    return {NUMPYRO: build} if HERE else {}
