"""Where plates, particles and rows lie in a program's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from pgplugins.core.numbers import real_cost
from pgplugins.core.terms import Plate, Site
from pgplugins.errors import ShapeError

_NO_PLATES: frozenset[Plate] = frozenset()


def plates_of(msg: Mapping[str, Any]) -> frozenset[Plate]:
    """Return the vectorized plates that enclose a site."""
    frames = msg["cond_indep_stack"]
    if not frames:
        return _NO_PLATES
    return frozenset(Plate(f.name, f.dim, int(f.size)) for f in frames if f.vectorized)


def in_program(site: Site, rows: Tensor, event_dim: int) -> Tensor:
    """Give a tensor that starts with the site's rows the layout of the program."""
    if site.row_dim is None:
        return rows[0]
    between = -site.row_dim - (rows.dim() - event_dim)
    return rows.reshape(rows.shape[0], *(1,) * between, *rows.shape[1:])


def plate_shape(plates: frozenset[Plate]) -> tuple[int, ...]:
    """Return the batch shape that plates enclose."""
    shape = [1] * max((-p.dim for p in plates), default=0)
    for plate in plates:
        shape[plate.dim] = plate.size
    return tuple(shape)


def weighed_cost(
    msg: Mapping[str, Any], plates: frozenset[Plate], rows: set[int]
) -> Tensor:
    """Expand a cost to its plates, then scale and mask it.

    Args:
        msg: The message of a ``pg.cost`` statement.
        plates: The plates that enclose it.
        rows: The dimensions that hold rows of sites.

    Raises:
        ShapeError: The cost has batch dimensions that are no plates.
    """
    value = real_cost(msg["value"], f"pg.cost({msg['name']!r}, ...)")
    shape = plate_shape(plates)
    declared = {plate.dim for plate in plates}
    stray = any(
        size != 1 and dim not in declared and dim not in rows
        for dim, size in zip(range(-value.dim(), 0), value.shape, strict=True)
    )
    try:
        expanded = torch.broadcast_shapes(value.shape, shape)
    except RuntimeError:
        stray = True
    if stray:
        raise ShapeError(
            f"pg.cost({msg['name']!r}, ...) has shape {tuple(value.shape)}, but the "
            f"enclosing plates have shape {shape}. Batch dimensions of a cost follow "
            "its plates; sum over the others, or move the cost into the plate."
        )
    value = value.expand(expanded)
    scaled: Tensor = scale_and_mask(value, msg["scale"], msg["mask"])
    return scaled


def same_scale(a: float | Tensor, b: float | Tensor) -> bool:
    """Whether two costs are scaled by the same number."""
    if any(isinstance(scale, Tensor) and scale.numel() > 1 for scale in (a, b)):
        return False
    return a is b or float(a) == float(b)
