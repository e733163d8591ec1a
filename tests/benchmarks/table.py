"""All rows of the table, by name."""

from __future__ import annotations

from tests.benchmarks.models import (
    bernoulli_vae,
    eight_schools,
    gaussian_vae,
    logistic,
    regulator,
    state_space,
)
from tests.benchmarks.rows import Row

ROWS: dict[str, Row] = {
    "logistic": logistic.ROW,
    "eight-schools": eight_schools.ROW,
    "vae-gaussian": gaussian_vae.ROW,
    "vae-enumerate": bernoulli_vae.ENUMERATED,
    "vae-score": bernoulli_vae.SCORE,
    "vae-disarm": bernoulli_vae.DISARM,
    "state-space": state_space.ROW,
    "lqr-pathwise": regulator.PATHWISE,
    "lqr-score": regulator.SCORE,
}
