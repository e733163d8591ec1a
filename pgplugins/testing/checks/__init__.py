"""The checks; importing this package registers them, in the order in which they run."""

from pgplugins.testing.checks import (  # noqa: I001
    contract,
    scope,
    randomness,
    state,
    exact,
    gradients,
    composition,
    derivatives,
    precision,
)

__all__ = [
    "composition",
    "contract",
    "derivatives",
    "exact",
    "gradients",
    "precision",
    "randomness",
    "scope",
    "state",
]
