"""Kullback-Leibler divergences in closed form, where they are right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, kl_divergence
from torch.distributions.kl import _KL_REGISTRY

from pgplugins.core.parts import is_another_law, parts_of
from pgplugins.distribution import unmasked, unwrapped
from pgplugins.families.expanded import expand
from pgplugins.infer.layout import same_scale


def replaceable(in_model: Mapping[str, Any], in_guide: Mapping[str, Any]) -> list[str]:
    """Name the sites whose ``log q - log p`` has the divergence as its mean.

    The mean is over the site's own draw, on which neither density's parameters may
    depend: whatever comes before the site in the model has to come before it in the
    guide as well. Their scales and masks have to agree; a mask of the law itself is
    left to sampling, as Pyro's divergence between two masked laws takes both masks.
    """
    drawn = [
        name
        for name, msg in in_guide.items()
        if msg["type"] == "sample" and not msg["is_observed"]
    ]
    position = {name: i for i, name in enumerate(drawn)}
    found, latest = [], -1
    for name, msg in in_model.items():
        if name in position:
            latest = max(latest, position[name])
            if latest == position[name] and _weigh_alike(msg, in_guide[name]):
                found.append(name)
    return found


def _weigh_alike(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    laws = unwrapped(a["fn"]), b["fn"]
    return (
        a["mask"] is b["mask"]
        and same_scale(a["scale"], b["scale"])
        and all(unmasked(law) is law for law in laws)
    )


def divergence(q: Distribution, p: Distribution) -> Tensor | None:
    """Return ``KL(q || p)``, shape ``batch_shape``; ``None`` without a closed form.

    Torch takes the closed form of the types that two laws derive from, whatever
    densities they have themselves; such a law is left to sampling.

    Example:
        >>> from torch.distributions import Cauchy, Normal
        >>> divergence(Normal(1.0, 1.0), Normal(0.0, 1.0))
        tensor(0.5000)
        >>> divergence(Normal(1.0, 1.0), Cauchy(0.0, 1.0))
    """
    if not (_is_registered(q) and _is_registered(p)):
        return None
    if q.batch_shape != p.batch_shape:
        # Rows of a site that one of them depends on; torch's forms index by masks.
        shape = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
        q, p = expand(q, shape), expand(p, shape)
    try:
        found: Tensor = kl_divergence(q, p)
    except NotImplementedError:
        return None
    return found


def _is_registered(law: Distribution) -> bool:
    """Whether a closed form is meant for this law, not for one it derives from."""
    for part in parts_of(law):
        kinds = type(part).__mro__
        own = next((i for i, kind in enumerate(kinds) if is_another_law(kind)), None)
        if own is not None and not any(
            kind in pair for pair in _KL_REGISTRY for kind in kinds[: own + 1]
        ):
            return False
    return True
