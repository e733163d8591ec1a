"""How notes and combinations pass through one call of a torch function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pgplugins.diagnostics.lint import kinds
from pgplugins.diagnostics.lint.notes import LARGEST, Atom, Note, Parts

_POLYNOMIAL = frozenset({"mul", "div", "pow", "square", "rpow"})
Inputs = Sequence[tuple[Tensor, Note | None]]


def flow(
    name: str,
    inputs: Inputs,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    out: Tensor,
) -> Note:
    """Return the note of the result ``out`` of the operation ``name``."""
    notes = [note for _, note in inputs if note is not None]
    result = Note()
    path = other = stepped = scores = ratios = noise = 0
    foreign = False
    for note in notes:
        result.values |= note.values
        result.heard |= note.heard
        result.direct |= note.direct
        result.params |= note.params
        path |= note.path
        other |= note.other
        stepped |= note.stepped
        noise |= note.noise
        scores |= note.scores
        ratios |= note.ratios
        foreign = foreign or note.foreign
    if name not in kinds.SAME and any(
        note.other and not note.scores | note.ratios for note in notes
    ):
        plain = [n.params for n in notes if not n.scores | n.ratios]
        foreign = foreign or any(plain)
    if name in kinds.STEPS or not (out.is_floating_point() or out.is_complex()):
        result.stepped = stepped | path
        path = 0
    elif name not in ("detach", "data") and (
        torch.is_grad_enabled() or out.requires_grad
    ):
        result.stepped = stepped
        result.noise = noise
    if out.requires_grad and path | result.noise:
        noise = result.noise & ~path
        result.path = path | noise
        result.other = other | noise
        result.foreign = foreign
    if out.requires_grad:
        both = name in kinds.PRODUCTS and sum(bool(n.scores) for n in notes) > 1
        linear = kinds.is_linear(name) or name in kinds.PRODUCTS
        if name in kinds.QUOTIENTS:
            second = inputs[1][1] if len(inputs) > 1 else None
            linear = second is None or not second.scores
        if linear and not both:
            result.scores, result.ratios = scores, ratios
        else:
            result.ratios = scores | ratios
    _note_scales(name, notes, inputs, out, result)
    if result.values | result.heard:
        result.parts = _parts(name, inputs, args, kwargs, out, result)
    return result


def _note_scales(
    name: str, notes: list[Note], inputs: Inputs, out: Tensor, result: Note
) -> None:
    """Follow statistics of a batch, and whether values differ."""
    first, first_note = inputs[0]
    smaller = out.numel() < first.numel()
    result.squashed = name == "tanh" or (
        len(notes) == 1
        and notes[0].squashed
        and (kinds.is_linear(name) or name in _POLYNOMIAL)
    )
    keeps = kinds.is_linear(name) or name in kinds.PRODUCTS or name in kinds.QUOTIENTS
    if name in kinds.STATISTICS and first_note is not None and smaller:
        result.scale = first_note.values | first_note.heard
    elif len(notes) == 1 and not smaller and name not in kinds.REDUCTIONS:
        result.scale = notes[0].scale  # + eps, clamp_min, sqrt
    if keeps:
        for note in notes:
            result.scaled |= note.scaled
            result.sees = result.sees or note.sees
            result.learned |= note.learned
            result.knows |= note.knows
    if name in kinds.QUOTIENTS and len(inputs) > 1 and inputs[1][1] is not None:
        result.scaled |= inputs[1][1].scale
    if name in kinds.REDUCTIONS and out.numel() == 1 and result.path and smaller:
        if not first.is_floating_point():
            return
        held = first.detach()
        low, high = held.aminmax()
        result.varies = bool(high - low > 1e-5 * held.abs().amax())
    elif keeps and not result.scale:
        moving = [note for note in notes if note.values]
        result.varies = len(moving) == 1 and moving[0].varies


def _parts(
    name: str,
    inputs: Inputs,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    out: Tensor,
    note: Note,
) -> Parts:
    """Write a result as a combination of what went in, or as something new."""
    found = _combined(name, inputs, args, kwargs)
    if found is not None and len(found) <= LARGEST:
        return found
    if name in kinds.REDUCTIONS:
        tensor, first = inputs[0]
        if first is not None and first.parts and out.numel():
            count = tensor.numel() // out.numel()
            factor = float(count) if "sum" in name else 1.0
            return {Atom(out, note, first.parts, factor, count): 1.0}
    return {Atom(out, note): 1.0}


def _combined(
    name: str, inputs: Inputs, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Parts | None:
    first = inputs[0][1]
    if name in kinds.SAME:
        return first.parts if first is not None else None
    if name in ("neg", "negative"):
        return _times(first, -1.0)
    if name == "copy" and len(inputs) == 2:
        return inputs[1][1].parts if inputs[1][1] is not None else {}
    if name == "lerp" and isinstance(args[-1], float) and len(args) == 3:
        noted = {id(tensor): note for tensor, note in inputs}
        start, end = (noted.get(id(tensor)) for tensor in args[:2])
        return _added(_times(start, 1 - args[2]), _times(end, args[2]))
    if name in kinds.SUMS:
        return _sum(name, args, kwargs, inputs)
    if name in ("mul", "multiply") or name in kinds.QUOTIENTS:
        if name in kinds.QUOTIENTS and len(inputs) == 2 and _is_scale(inputs[1][1]):
            return first.parts if first is not None else None
        number = _number(args, inputs)
        if number is None or kwargs:
            return None
        value, note = number
        if name in kinds.QUOTIENTS:
            if value == 0.0 or isinstance(args[0], (int, float)):
                return None
            value = 1.0 / value
        return _times(note, value)
    return None


def _number(args: tuple[Any, ...], inputs: Inputs) -> tuple[float, Note | None] | None:
    """The number that a tensor is multiplied with, and the tensor's note."""
    if len(args) != 2:
        return None
    noted = {id(tensor): note for tensor, note in inputs}
    left, right = args
    for number, tensor in ((right, left), (left, right)):
        if not isinstance(tensor, Tensor):
            continue
        if isinstance(number, (int, float)):
            return float(number), noted.get(id(tensor))
        if (
            isinstance(number, Tensor)
            and noted.get(id(number)) is None
            and number.dim() == 0
            and number.device.type == "cpu"
        ):
            return float(number), noted.get(id(tensor))
    return None


def _sum(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: Inputs
) -> Parts | None:
    noted = {id(tensor): note for tensor, note in inputs}
    operands = [*args, *(kwargs[k] for k in ("other",) if k in kwargs)]
    if len(operands) != 2:
        return None
    signs = [1.0, -1.0 if "sub" in name else 1.0]
    if name == "rsub":
        signs.reverse()
    signs[1] *= kwargs.get("alpha", 1.0)
    return _added(
        *(
            _times(noted.get(id(operand)), sign)
            for operand, sign in zip(operands, signs, strict=True)
        )
    )


def _added(*terms: Parts | None) -> Parts:
    total: Parts = {}
    for term in terms:
        for atom, share in (term or {}).items():
            total[atom] = total.get(atom, 0.0) + share
    return total


def _is_scale(note: Note | None) -> bool:
    return note is not None and bool(note.scale)


def _times(note: Note | None, factor: float) -> Parts | None:
    if note is None or note.parts is None:
        return None
    return {atom: factor * share for atom, share in note.parts.items()}
