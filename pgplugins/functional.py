"""Expectations of plain functions, and the gradient term of recorded draws."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pgplugins.core.algebra import spread
from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator
from pgplugins.core.finite import require_finite, require_zero
from pgplugins.core.fit import require_fit
from pgplugins.core.flatness import guard_flat_cost
from pgplugins.core.numbers import positive_integer
from pgplugins.core.parts import describe
from pgplugins.distribution import carried_estimator, unmasked, unwrapped
from pgplugins.errors import EstimatorError, InputError, InputTypeError, ShapeError
from pgplugins.families.expanded import expand
from pgplugins.plugins import Site, default_estimator
from pgplugins.plugins import estimator as make_estimator


def expectation(
    cost: Callable[[Tensor], Tensor],
    dist: Distribution,
    *,
    estimator: str | Estimator | type[Estimator] | None = None,
    num_samples: int = 1,
) -> Tensor:
    """Estimate an expected cost; ``backward()`` estimates its gradient.

    Args:
        cost: Maps samples ``(num_samples, *batch, *event)`` to costs ``(num_samples,
            *b)``, where ``b`` is ``batch`` or lacks leading dimensions of it that the
            cost has summed over. An estimator with several rows passes ``rows *
            num_samples`` samples in one call.
        dist: Any torch or Pyro distribution.
        estimator: A name, or an instance, which learns from call to call if it has
            state; by default pathwise where there is ``rsample``, else score function.
        num_samples: Number of independent draws.

    Returns:
        Shape ``b``: the mean cost, with a gradient for the distribution's parameters
        and for whatever else the cost depends on.

    Raises:
        InputError: ``num_samples`` is not a positive integer.
        EstimatorError: The estimator does not fit the distribution.
        ShapeError: The cost has another shape.
        NotFiniteError: A cost is nan or infinite.
        FlatCostError: The estimator is pathwise and the cost varies without a gradient.

    Example:
        >>> mu = torch.tensor(0.5, requires_grad=True)
        >>> d = torch.distributions.Normal(mu, 1.0)
        >>> _ = torch.manual_seed(0)
        >>> loss = expectation(lambda x: (x - 2) ** 2, d, num_samples=10_000)
        >>> loss.backward()
        >>> round(mu.grad.item(), 1)  # exactly 2 (mu - 2)
        -3.0
    """
    positive_integer(num_samples, "num_samples")
    if not isinstance(dist, Distribution):
        raise InputTypeError(
            f"pg.expectation(cost, dist) takes a distribution as its second argument; "
            f"found a {type(dist).__name__}."
        )
    if not callable(cost):
        raise InputTypeError(
            "pg.expectation(cost, dist) takes a function from samples to costs as its "
            f"first argument; found a {type(cost).__name__}."
        )
    chosen = _choose(estimator, dist)
    base = unmasked(unwrapped(dist))
    require_fit(chosen, base)
    batch = base.batch_shape
    draw = chosen.draw(expand(base, torch.Size((num_samples, *batch))))
    _check_draw(chosen, draw, num_samples, base)
    draw.particle_dim = -1 - len(batch)

    samples = draw.value.flatten(0, 1)
    value = cost(samples)
    kept = _check_cost(value, samples, batch)
    if not value.is_floating_point():
        value = value.to(torch.get_default_dtype())  # counts and comparisons are costs
    require_finite(value, "The cost")
    value = value.reshape(draw.rows, num_samples, *kept)
    summed = len(batch) - len(kept)
    aligned = value.reshape(draw.rows, num_samples, *(1,) * summed, *kept)
    _check_weight(chosen, draw, base, summed)
    together = summed > 0 and chosen.traits.scores_to_any_order
    signal = spread(
        aligned,
        (draw.rows, num_samples, *batch),
        draw.log_prob if together else None,
    )
    term = chosen.gradient_term(draw, signal)
    chosen.update(draw, signal)

    estimate = _average(draw, value, summed)
    if term is not None:
        _check_term(chosen, term, (num_samples, *batch))
        require_zero(term, chosen)
        estimate = estimate + (term.flatten(1, summed).sum(1) if summed else term)
    loss = estimate.mean(0)
    if "differentiable_cost" in chosen.traits.needs:
        draws = value.flatten(0, 1)
        guard_flat_cost([draw.value], draws, describe(base), chosen.name, loss)
    return loss


def surrogate(
    dist: Distribution,
    value: Tensor,
    cost: Tensor,
    *,
    estimator: str | Estimator | type[Estimator] = "score_function",
    baseline: str | Tensor | nn.Module | None = None,
) -> Tensor:
    """Return the gradient term of recorded draws and costs, such as rollouts.

    Args:
        dist: The distribution that the values were drawn from, batch shape
            broadcastable to ``B``.
        value: The recorded draws, shape ``(*B, *event)``; detached here.
        cost: What each draw led to, shape ``B``; lower is better.
        estimator: One that needs nothing but the density of recorded draws:
            ``"score_function"``, or an instance of it.
        baseline: As for ``"score_function"``, but none unless asked for: the costs of
            one rollout's steps depend on one another's actions, and a baseline that has
            seen them is biased. ``"leave_one_out"`` is for draws along the first
            dimension of ``B`` that are independent of one another.

    Returns:
        Shape ``B``: exactly zero in value; the gradient of its mean (or sum) estimates
        that of the mean (or sum) cost. Add it to any other loss.

    Raises:
        EstimatorError: The estimator has to draw for itself.
        ShapeError: The shapes do not agree.
        NotFiniteError: A cost or a log-density is nan or infinite.

    Example:
        >>> mu = torch.tensor([0.0, 1.0], requires_grad=True)
        >>> policy = torch.distributions.Normal(mu, 1.0)
        >>> actions, costs = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 3.0])
        >>> surrogate(policy, actions, costs, baseline=None).sum().backward()
        >>> mu.grad  # cost * (action - mu) / sigma^2
        tensor([ 0.5000, -1.5000])
    """
    for name, given, kind in (
        ("dist", dist, Distribution),
        ("value", value, Tensor),
        ("cost", cost, Tensor),
    ):
        if not isinstance(given, kind):
            raise InputTypeError(
                f"pg.surrogate(dist, value, cost): {name} is a "
                f"{type(given).__name__}; it must be a {kind.__name__}."
            )
    if isinstance(estimator, Estimator):
        if baseline is not None:
            raise InputError(
                "pg.surrogate got an estimator that is configured already and a "
                "baseline as well; write "
                'pg.estimator("score_function", baseline=...) or estimator='
                '"score_function".'
            )
        chosen = estimator
    elif baseline is None and make_estimator(estimator).name != "score_function":
        chosen = make_estimator(estimator)
    else:
        chosen = make_estimator(estimator, baseline=baseline)
    if chosen.traits.many_rows or "rsample" in chosen.traits.needs:
        raise EstimatorError(
            f"Estimator {chosen.name!r} has to draw for itself, but pg.surrogate is "
            'given recorded draws. Write estimator="score_function", or '
            "pg.expectation and pg.ExpectedCost, which draw."
        )
    base = unmasked(unwrapped(dist))
    event = len(base.event_shape)
    shape = value.shape[: value.dim() - event]
    if value.shape[value.dim() - event :] != base.event_shape or cost.shape != shape:
        raise ShapeError(
            f"pg.surrogate: values {tuple(value.shape)} with events of shape "
            f"{tuple(base.event_shape)} ask for costs of shape {tuple(shape)}; found "
            f"costs {tuple(cost.shape)}. One cost per recorded draw."
        )
    try:
        expanded = expand(base, shape)
    except (RuntimeError, ValueError) as error:
        raise ShapeError(
            f"pg.surrogate: the distribution's batch shape {tuple(base.batch_shape)} "
            f"does not broadcast to that of the recorded draws, {tuple(shape)}."
        ) from error
    require_finite(cost, "The recorded cost")
    draw = Draw(dist=expanded, value=value.detach().unsqueeze(0))
    if len(shape) > 0:
        draw.particle_dim = -len(shape)
    require_finite(draw.log_prob, "The log-density of the recorded draws")
    held = cost.detach().unsqueeze(0)
    term = chosen.gradient_term(draw, held)
    chosen.update(draw, held)
    return torch.zeros_like(cost) if term is None else term


def _choose(
    estimator: str | Estimator | type[Estimator] | None, dist: Distribution
) -> Estimator:
    if estimator is not None:
        return make_estimator(estimator)
    carried = carried_estimator(dist)
    if carried is not None:
        return carried
    decided = default_estimator(Site(name="expectation", dist=dist, infer={}))
    if decided is not None:
        return make_estimator(decided)
    return make_estimator("reparameterized" if dist.has_rsample else "score_function")


def _check_draw(
    estimator: Estimator, draw: Draw, num_samples: int, dist: Distribution
) -> None:
    if not isinstance(draw, Draw):
        raise InputTypeError(
            f"{type(estimator).__name__}.draw returned a {type(draw).__name__}; "
            "it must return a pg.Draw."
        )
    want = (num_samples, *dist.batch_shape, *dist.event_shape)
    if draw.value.shape[1:] != want:
        raise ShapeError(
            f"{type(estimator).__name__}.draw returned values of shape "
            f"{tuple(draw.value.shape)}; they must be (rows, *batch, *event) = "
            f"(rows, {', '.join(map(str, want))})."
        )


def _check_cost(value: object, samples: Tensor, batch: torch.Size) -> torch.Size:
    """Return the batch dimensions that the cost has kept."""
    n = samples.shape[0]
    wanted = f"({n}, {', '.join(map(str, batch))})" if batch else f"({n},)"
    if not isinstance(value, Tensor):
        raise InputTypeError(
            f"The cost must be a tensor of shape {wanted}; found a "
            f"{type(value).__name__}. Compute it from the samples with torch."
        )
    kept = value.shape[1:]
    if (
        value.dim() == 0
        or value.shape[0] != n
        or (len(kept) > len(batch) or kept != batch[len(batch) - len(kept) :])
    ):
        raise ShapeError(
            f"The cost has shape {tuple(value.shape)}; for samples of shape "
            f"{tuple(samples.shape)} it must be {wanted}, or lack leading batch "
            "dimensions that it has summed over."
        )
    return kept


def _check_weight(
    estimator: Estimator, draw: Draw, dist: Distribution, summed: int
) -> None:
    if draw.weight is None or summed == 0:
        return
    dims = draw.weight.shape[2 : 2 + summed]
    if dims.numel() > 1:
        raise EstimatorError(
            f"The rows of estimator {estimator.name!r} are weighted one by one for "
            f"every batch element of {describe(dist)}, but the cost joins them. Write "
            f"the distribution with .to_event({len(dist.batch_shape)}), so that their "
            "combinations are drawn."
        )


def _average(draw: Draw, value: Tensor, summed: int) -> Tensor:
    """Average the costs over rows: shape ``(num_samples, *b)``."""
    if draw.weight is None:
        return value.mean(0)
    weight = draw.weight
    if summed:
        weight = weight.flatten(1, 1 + summed)  # all of size one: _check_weight
    return (weight * value).sum(0)


def _check_term(estimator: Estimator, term: Tensor, want: tuple[int, ...]) -> None:
    if term.shape != want:
        raise ShapeError(
            f"{type(estimator).__name__}.gradient_term returned shape "
            f"{tuple(term.shape)}; it must return the batch shape {want}: one term per "
            "batch element, rows summed."
        )
