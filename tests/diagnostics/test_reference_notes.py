"""A reference that could not be had is not passed over in silence."""

from __future__ import annotations

import torch
from torch.distributions import Bernoulli

import pgplugins as pg


def test_an_enumeration_that_fails_is_noted_with_its_reason() -> None:
    logit = torch.tensor(0.3, requires_grad=True)

    def cost(x: torch.Tensor) -> torch.Tensor:
        if len(x) == 2 * 3:  # the two points of the support, three samples each
            raise ZeroDivisionError("not made to be enumerated")
        return x - 0.2

    compared = pg.compare(
        (cost, lambda: Bernoulli(logits=logit)),
        estimators=["score_function"],
        params={"logit": logit},
        num_samples=3,
        num_runs=40,
    )
    assert any("not made to be enumerated" in note for note in compared.notes)
    assert "enumeration" not in compared.reference
