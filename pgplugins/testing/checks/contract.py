"""What draws and terms have to be, whatever the estimator computes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch

from pgplugins.core.draw import Draw
from pgplugins.core.parameters import parameters_of
from pgplugins.core.parts import describe
from pgplugins.core.points import support_size
from pgplugins.core.problem import Expectation, Problem
from pgplugins.functional import expectation
from pgplugins.testing.evidence import CheckFailed
from pgplugins.testing.registry import biased, check
from pgplugins.testing.subject import Sitting, Subject


def _not_pathwise(subject: Subject) -> str | None:
    return None if subject.traits.pathwise else "traits.pathwise is not declared"


def _sittings(subject: Subject, rounds: int = 2) -> Iterator[tuple[Sitting, str]]:
    """Sit for every expectation, again with what was learned."""
    for problem in subject.expectations:
        estimator = subject.fresh()
        for number in range(rounds):
            sitting = Sitting(problem, estimator)
            where = f"on {problem.name!r}" + (" after an update" if number else "")
            yield sitting, where
            term = estimator.gradient_term(sitting.draw, sitting.cost)
            loss = sitting.averaged(sitting.draw, sitting.cost).sum()
            sitting.gradient(loss if term is None else loss + term.sum())
            estimator.update(sitting.draw, sitting.cost)


@check()
def it_serves_a_problem(subject: Subject) -> None:
    """There is a problem with exact gradients that the estimator serves."""
    if not subject.expectations:
        raise CheckFailed(
            f"{subject.name!r} refuses every one-draw problem that there is, so "
            "nothing can be proven. Offer one: pgplugins_register_problems"
        )


@check()
def draws_have_their_shape(subject: Subject) -> None:
    """Draws have the law's shape, dtype and device, and are finite."""
    for sitting, where in _sittings(subject):
        value = sitting.draw.value
        if not value.isfinite().all():
            raise CheckFailed(f"draw returned values that are not finite {where}")
        if value.is_floating_point() and value.dtype != torch.float64:
            raise CheckFailed(
                f"draw returned {value.dtype} {where}, where the parameters are "
                "torch.float64"
            )


@check(unless=biased)
def draws_lie_in_the_support(subject: Subject) -> None:
    """Rows that count lie in the support, unless a bias is declared."""
    for sitting, where in _sittings(subject):
        support: Any = sitting.base.support
        inside = support.check(sitting.draw.value)
        weight = sitting.draw.weight
        counted = torch.ones_like(inside) if weight is None else weight != 0
        if bool((counted & ~inside).any()):
            raise CheckFailed(f"draw returned values outside the support {where}")


@check()
def weights_sum_to_one(subject: Subject) -> None:
    """Weights broadcast to ``(rows, *batch)`` and sum to one over rows."""
    for sitting, where in _sittings(subject):
        weight = sitting.draw.weight
        if weight is None:
            continue
        want = (sitting.draw.rows, *sitting.shape)
        try:
            fits = torch.broadcast_shapes(weight.shape, want) == want
        except RuntimeError:
            fits = False
        if not fits or weight.shape[:1] != want[:1]:
            raise CheckFailed(
                f"weights have shape {tuple(weight.shape)} {where}; they must "
                f"broadcast to (rows, *batch) = {want}"
            )
        total = weight.sum(0)
        if not torch.allclose(total, torch.ones_like(total), atol=1e-6):
            raise CheckFailed(
                f"weights sum to {float(total.flatten()[0]):.6g} over rows {where}, "
                "instead of one"
            )


@check()
def rows_are_as_declared(subject: Subject) -> str | None:
    """As many rows as ``cost_evaluations`` says."""
    declared = subject.traits.cost_evaluations
    if declared == "choice":
        return "it chooses from draw to draw"
    for sitting, where in _sittings(subject):
        rows, wanted = sitting.draw.rows, _declared_rows(sitting, declared)
        if rows not in wanted:
            span = f"{wanted[0]}" + (f" to {wanted[-1]}" if len(wanted) > 1 else "")
            raise CheckFailed(
                f"draw returned {rows} rows {where}; traits.cost_evaluations says "
                f"{declared}" + (f", {span}" if isinstance(declared, str) else "")
            )
    return None


def _declared_rows(
    sitting: Sitting, declared: int | Literal["support", "parameters", "size"]
) -> range:
    """How many rows a draw may have."""
    if declared == "parameters":
        # One or two for every scalar that is differentiated for, and one.
        varied = [v for v in parameters_of(sitting.base).values() if v.requires_grad]
        scalars = sum(v.numel() for v in varied) // sitting.base.batch_shape.numel()
        return range(1 + scalars, 2 + 2 * scalars)
    if declared == "support":
        wanted = support_size(sitting.base)
    elif declared == "size":
        size = getattr(sitting.estimator, "size", None)
        if not isinstance(size, int):
            raise CheckFailed(
                'traits.cost_evaluations says "size", but the estimator has no integer '
                f"of that name; found {size!r}"
            )
        wanted = min(size, support_size(sitting.base))
    else:
        wanted = declared
    return range(wanted, wanted + 1)


@check()
def terms_are_zero(subject: Subject) -> None:
    """The gradient term is exactly zero in value, also with its costs detached."""
    for sitting, where in _sittings(subject):
        for cost in (sitting.cost, sitting.cost.detach()):
            term = subject_term(sitting, cost)
            if term is not None and bool((term.detach() != 0).any()):
                raise CheckFailed(
                    "gradient_term returned a value of up to "
                    f"{float(term.detach().abs().max()):.3g} {where}; it must be "
                    "exactly zero. Write draw.score_term(cost)[0], or subtract the "
                    "term's own .detach()"
                )


def subject_term(sitting: Sitting, cost: torch.Tensor) -> torch.Tensor | None:
    """Return the term for a cost.

    Raises:
        CheckFailed: It is no tensor.
    """
    term = sitting.estimator.gradient_term(sitting.draw, cost)
    if term is not None and not isinstance(term, torch.Tensor):
        raise CheckFailed(
            f"gradient_term returned a {type(term).__name__}; it must return a tensor "
            "or None"
        )
    return term


@check()
def terms_have_the_batch_shape(subject: Subject) -> None:
    """One term per batch element, also under further dimensions on the left."""
    for sitting, where in _sittings(subject):
        batch = tuple(sitting.shape)
        rows = sitting.draw.rows
        wide = sitting.cost.unsqueeze(1).expand(rows, 2, *batch)
        for cost, wanted in (
            (sitting.cost, [batch]),
            (wide.detach(), [(2, *batch), batch]),
        ):
            term = subject_term(sitting, cost)
            if term is not None and tuple(term.shape) not in wanted:
                raise CheckFailed(
                    f"gradient_term returned shape {tuple(term.shape)} for costs of "
                    f"shape {tuple(cost.shape)} {where}; it must return "
                    f"{wanted[0]}: one term per batch element, rows summed"
                )


@check(unless=_not_pathwise)
def paths_need_no_term(subject: Subject) -> None:
    """A pathwise estimator attaches its one row and returns no term."""
    for sitting, where in _sittings(subject):
        draw = sitting.draw
        if not draw.value.requires_grad:
            raise CheckFailed(
                f"traits.pathwise is declared, but the value is detached {where}"
            )
        if draw.rows != 1 or draw.weight is not None:
            raise CheckFailed(
                f"traits.pathwise is declared, but there are {draw.rows} rows or "
                f"weights {where}"
            )
        if subject_term(sitting, sitting.cost) is not None:
            raise CheckFailed(
                f"traits.pathwise is declared, but gradient_term returned a tensor "
                f"{where}"
            )


@check()
def the_weighted_costs_are_reported(subject: Subject) -> None:
    """The estimate is the weighted mean of the costs of the very rows drawn."""
    for problem in subject.expectations:
        _require_reported(subject, problem)


def _require_reported(subject: Subject, problem: Problem) -> None:
    objective = problem.objective
    assert isinstance(objective, Expectation)
    leaves = problem.leaves()
    law = objective.law(leaves)
    particles = max(3, subject.fewest)
    estimator = subject.fresh()
    original = estimator.draw
    seen: list[torch.Tensor] = []
    weights: list[torch.Tensor | None] = []

    def draw(law: torch.distributions.Distribution) -> Draw:
        drawn = original(law)
        weights.append(drawn.weight)
        return drawn

    def cost(x: torch.Tensor) -> torch.Tensor:
        seen.append(objective.cost(x, leaves))
        return seen[-1]

    object.__setattr__(estimator, "draw", draw)
    found = expectation(cost, law, estimator=estimator, num_samples=particles)
    costs, weight = seen[0].reshape(-1, particles, *law.batch_shape), weights[0]
    rows = costs.mean(0) if weight is None else (weight * costs).sum(0)
    want = rows.mean(0)
    if not torch.allclose(found, want, rtol=1e-9, atol=1e-12):
        raise CheckFailed(
            f"the estimate on {problem.name!r} is {found.tolist()}, but the weighted "
            f"costs of its rows are {want.tolist()}"
        )


@check()
def inputs_are_left_alone(subject: Subject) -> None:
    """Neither ``gradient_term`` nor ``update`` changes the draw or the cost."""
    for sitting, where in _sittings(subject):
        draw, cost = sitting.draw, sitting.cost
        value, costs = draw.value.detach().clone(), cost.detach().clone()
        weight = None if draw.weight is None else draw.weight.detach().clone()
        law = sitting.base
        for stage in ("gradient_term", "update"):
            if stage == "gradient_term":
                subject_term(sitting, cost)
            else:
                sitting.estimator.update(draw, cost)
            if not torch.equal(draw.value.detach(), value):
                raise CheckFailed(f"{stage} changed the drawn values {where}")
            if not torch.equal(cost.detach(), costs):
                raise CheckFailed(f"{stage} changed the costs {where}")
            if (draw.weight is None) != (weight is None) or (
                draw.weight is not None
                and weight is not None
                and not torch.equal(draw.weight.detach(), weight)
            ):
                raise CheckFailed(f"{stage} changed the weights {where}")
            for name, parameter in sitting.leaves.items():
                if not torch.equal(
                    parameter.detach(), sitting.problem.parameters[name]
                ):
                    raise CheckFailed(
                        f"{stage} changed the parameter {name!r} of {describe(law)} "
                        f"{where}"
                    )


@check()
def terms_depend_on_their_draw_alone(subject: Subject) -> None:
    """A term can be built twice, and after another draw: only ``update`` learns."""
    for sitting, where in _sittings(subject):
        draw, cost = sitting.draw, sitting.cost
        terms = [subject_term(sitting, cost)]
        other = sitting.take()
        sitting.estimator.gradient_term(other, sitting.evaluate(other))
        terms.append(subject_term(sitting, cost))
        if (terms[0] is None) != (terms[1] is None):
            raise CheckFailed(f"gradient_term returned a tensor and None {where}")
        found = [
            sitting.gradient(sitting.averaged(draw, cost) + (0 if t is None else t))
            for t in terms
        ]
        if not torch.allclose(found[0], found[1], rtol=1e-9, atol=1e-12):
            raise CheckFailed(
                f"the same draw and cost gave two gradients {where}: "
                f"{_rounded(found[0])} and, after another draw, {_rounded(found[1])}. "
                "State may change in update only, and a draw's own data belong into "
                "Draw(extra=...)"
            )


def _rounded(values: torch.Tensor) -> list[float]:
    return [float(f"{v:.6g}") for v in values.tolist()]
