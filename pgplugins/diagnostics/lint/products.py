"""Products of a log-density with something: when is it a score term, and a wrong one?

A density that is a summand of the loss, as in SAC and in an ELBO, has a weight that
does not depend on the sample. Where the weight does, the product is a score term, and
the sample in the density has to be held.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pgplugins.diagnostics.lint import findings
from pgplugins.diagnostics.lint.baselines import rescaled
from pgplugins.diagnostics.lint.findings import Finding, Rule
from pgplugins.diagnostics.lint.memory import Memory
from pgplugins.diagnostics.lint.notes import Atom, Bits, Note
from pgplugins.diagnostics.lint.places import Place


@dataclass(frozen=True, eq=False)
class Suspicion:
    """A finding, if backward goes through the product."""

    finding: Finding
    alone: Bits = 0
    """Draws that no other path of the loss may lead to."""
    draws: Bits = 0
    unless: Bits = 0
    """No path to ``draws`` may lead through these parameters either."""


@dataclass(frozen=True)
class Weight:
    """What a log-density is multiplied with.

    Attributes:
        value: The tensor, or None for a number of Python's.
        note: What is known of it.
        heard: Draws that it may depend on although no torch function shows it.
    """

    value: Tensor | None
    note: Note
    heard: Bits

    @property
    def attached(self) -> bool:
        """Whether it passes a gradient on."""
        return self.value is not None and self.value.requires_grad


def judge(
    memory: Memory, density: Note, factor: Tensor, weight: Weight, place: Place
) -> list[Suspicion]:
    """Judge the product of ``factor``, which holds densities, with ``weight``."""
    attached, _ = memory.draws_of(density.scores | density.ratios)
    _, held = memory.draws_of(density.scores)
    found = _judge_attached(density, factor, weight, place, attached)
    if found:
        return found
    _, ratio_held = memory.draws_of(density.ratios)
    if weight.note.path & ratio_held:
        return [Suspicion(findings.DOUBLE_COUNTING.at(place))]
    return _judge_held(density, factor, weight, place, held)


def _judge_attached(
    density: Note, factor: Tensor, weight: Weight, place: Place, attached: Bits
) -> list[Suspicion]:
    seen = weight.note.values & attached
    heard = (weight.note.heard | weight.heard) & attached
    if not seen and not heard:
        return []
    if _same(weight.value, factor) or _constant(weight.value):
        return []
    if density.other & attached:
        # A weighted objective, of which the density is a part.
        depends = weight.note.values & (density.scores | density.ratios)
        if density.foreign or depends or density.ratios:
            return []
    undetached = weight.attached and weight.note.path & attached
    rule = findings.UNDETACHED_SCORE if undetached else findings.ATTACHED_SCORE
    return [Suspicion(rule.at(place), alone=0 if seen else heard)]


def _judge_held(
    density: Note,
    factor: Tensor,
    weight: Weight,
    place: Place,
    held: Bits,
) -> list[Suspicion]:
    known = (weight.note.values | weight.note.heard) & held
    if not known and not weight.heard & held:
        return []
    if _same(weight.value, factor):
        return []
    found = []
    if weight.attached and (known or weight.value is None or not weight.value.is_leaf):
        found.append(Suspicion(findings.ATTACHED_COST.at(place)))
    if not density.scores:
        return found
    rules: list[Rule] = []
    if weight.note.sees and not rescaled(weight.note):
        rules.append(findings.BATCH_BASELINE)
    elif weight.note.scaled & held:
        rules.append(findings.BATCH_SCALE)
    found += [Suspicion(rule.at(place)) for rule in rules]
    single = held & (held - 1) == 0  # of several, it may have come before its own
    if single and weight.note.knows & held:
        finding = findings.LEARNED_BASELINE.at(place)
        learned = weight.note.learned
        found.append(Suspicion(finding, draws=held, unless=learned))
    return found


def mark_product(out: Note, value: Tensor, held: Bits, weight: Note) -> None:
    """Remember a score term in the combination that ``out`` is."""
    atom = Atom(value, out)
    atom.product = (held, weight.parts or {})
    out.parts = {atom: 1.0}


def _same(weight: Tensor | None, factor: Tensor) -> bool:
    """Whether a square is written as a product, as in the log-variance loss."""
    if weight is None or weight.shape != factor.shape:
        return False
    if weight is factor:
        return True
    return (
        weight.requires_grad
        and weight.dtype == factor.dtype
        and bool((weight.detach() == factor.detach()).all())
    )


def _constant(weight: Tensor | None) -> bool:
    """Whether a weight is the same for several samples, such as a mask of ones."""
    if weight is None or weight.numel() < 2:
        return False
    held = weight.detach()
    return bool((held == held.reshape(-1)[0]).all())
