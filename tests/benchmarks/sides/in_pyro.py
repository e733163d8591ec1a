"""A Pyro model and guide: Pyro's own objectives and ours, eager and compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro
from pyro.infer import SVI, JitTrace_ELBO, Trace_ELBO
from torch import Tensor

import pgplugins as pg
from tests.benchmarks.rows import COMPILED, JIT, OURS, PYRO, Build, Steps

Program = Callable[[], Any]
Pair = Callable[[], tuple[Program, Program]]
"""Makes a model and a guide."""


def particles_of(number: int, nesting: int) -> dict[str, Any]:
    """Particles side by side, where there are several."""
    return {
        "num_particles": number,
        "vectorize_particles": number > 1,
        "max_plate_nesting": nesting,
    }


def steps_of(pair: Pair, elbo: Any) -> Build:
    """``svi.step`` with an objective, given its particles."""

    def build(particles: int, rate: float) -> Steps:
        return Steps(_svi(pair, elbo(particles), rate).step)

    return build


def compiled_steps_of(pair: Pair, elbo: Any) -> Build:
    """``pg.compile(svi)``."""

    def build(particles: int, rate: float) -> Steps:
        compiled = pg.compile(_svi(pair, elbo(particles), rate))
        return Steps(compiled.step, lambda n: compiled.run(n, progress=False))

    return build


def _svi(pair: Pair, elbo: Any, rate: float) -> SVI:
    pyro.clear_param_store()
    return SVI(*pair(), pyro.optim.Adam({"lr": rate}), elbo)


def in_pyro(pair: Pair, nesting: int) -> dict[str, Build]:
    """Pyro's sides of a program that ``Trace_ELBO`` can take."""
    return {
        PYRO: steps_of(pair, lambda n: Trace_ELBO(**particles_of(n, nesting))),
        JIT: steps_of(
            pair,
            lambda n: JitTrace_ELBO(
                **particles_of(n, nesting), ignore_jit_warnings=True
            ),
        ),
    }


def elbo_of(
    nesting: int, estimators: Mapping[str, str] | str | None
) -> Callable[[int], pg.ELBO]:
    """Particles to our ELBO."""
    return lambda n: pg.ELBO(**particles_of(n, nesting), estimators=estimators)


def ours(pair: Pair, elbo: Callable[[int], pg.ELBO]) -> dict[str, Build]:
    """Our sides, eager and compiled."""
    return {OURS: steps_of(pair, elbo), COMPILED: compiled_steps_of(pair, elbo)}


def objective(pair: Pair, elbo: Callable[[int], pg.ELBO]) -> Any:
    """Our loss and its parameters, for :attr:`Row.objective`."""

    def make(particles: int) -> tuple[Callable[[], Tensor], dict[str, Tensor]]:
        pyro.clear_param_store()
        model, guide = pair()
        bound = elbo(particles)
        bound.differentiable_loss(model, guide)
        named = pyro.get_param_store().named_parameters()
        params = {name.replace("$$$", "."): param for name, param in named}
        return lambda: bound.differentiable_loss(model, guide), params

    return make
