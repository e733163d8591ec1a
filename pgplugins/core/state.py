"""The sources of everything that an object holds."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.provenance import Tracked, sources_of_value
from pgplugins.core.tracker import Sources

_STATELESS = (int, float, bool, str, type(None), torch.Size, torch.dtype, torch.device)
_PLAIN = frozenset({Tensor, torch.nn.Parameter, *_STATELESS})


def sources_of_state(state: object) -> Sources | None:
    """Sources of everything that an object's attributes hold.

    Returns:
        ``None`` if an attribute is of a kind that cannot be looked into, so that only
        running the object's code can tell.
    """
    total = 0
    for part in vars(state).values():
        kind = type(part)
        if kind in _PLAIN:
            continue
        if kind is Tracked:
            total |= sources_of_value(part)
        elif issubclass(kind, (Tensor, *_STATELESS)):
            continue
        elif isinstance(part, Distribution):
            inner = sources_of_state(part)
            if inner is None:
                return None
            total |= inner
        elif isinstance(part, dict) and all(
            isinstance(v, _STATELESS) for v in part.values()
        ):
            continue
        else:
            return None
    return total
