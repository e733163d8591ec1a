"""The gradient term of recorded draws and their costs, such as rollouts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pgplugins.core.baselines import Given
from pgplugins.core.draw import Draw
from pgplugins.core.estimator import Estimator
from pgplugins.core.finite import require_finite
from pgplugins.core.learning import teach
from pgplugins.core.masking import fill_masked, require_mask
from pgplugins.core.numbers import real_cost
from pgplugins.distributed.collectives import Distributed, check_distributed
from pgplugins.distributed.session import one_estimate, pool_of
from pgplugins.distribution import unmasked, unwrapped
from pgplugins.errors import EstimatorError, InputError, InputTypeError, ShapeError
from pgplugins.families.expanded import expand
from pgplugins.plugins import estimator as make_estimator


def surrogate(
    dist: Distribution,
    value: Tensor,
    cost: Tensor,
    *,
    estimator: str | Estimator | type[Estimator] = "score_function",
    baseline: str | Tensor | nn.Module | None = None,
    distributed: Distributed = False,
    mask: Tensor | None = None,
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
        distributed: The draws are one part of those of all ranks (of
            ``torch.distributed``, or another engine's
            :class:`~pgplugins.distributed.Collectives`), divided along the first
            dimension of ``B``, evenly or not; baselines are pooled over all.
        mask: False for draws that do not count, such as steps after an episode's end,
            shape ``B``, bool: whatever they hold (a cost that is nan, an action outside
            of the support) is ignored, and their term is zero, gradient included. With
            baselines that are tensors, or none.

    Returns:
        Shape ``B``: exactly zero in value; the gradient of its mean (or sum) estimates
        that of the mean (or sum) cost. Add it to any other loss. The terms are not
        rescaled with ``distributed``: the gradients of all ranks' sums add up to that
        of one process.

    Raises:
        EstimatorError: The estimator has to draw for itself.
        ShapeError: The shapes do not agree.
        NotFiniteError: A cost or a log-density that counts is nan or infinite.
        InputError: The mask leaves no draw, or the baseline would pool masked costs.
        InputTypeError: An argument is of another kind.
        DistributedError: The ranks do not go together.

    Example:
        >>> import torch
        >>> mu = torch.tensor([0.0, 1.0], requires_grad=True)
        >>> policy = torch.distributions.Normal(mu, 1.0)
        >>> actions, costs = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 3.0])
        >>> surrogate(policy, actions, costs, baseline=None).sum().backward()
        >>> mu.grad  # cost * (action - mu) / sigma^2
        tensor([ 0.5000, -1.5000])
    """
    check_distributed(distributed)
    with one_estimate(distributed, "pg.surrogate") as session:
        shape = _shape_of_costs(dist, value, cost)
        if mask is not None:
            require_mask(mask, shape, "pg.surrogate")
            if isinstance(baseline, Tensor):
                # What it holds for a draw that does not count is ignored as well.
                baseline = _given(baseline, shape).where(mask, 0.0)
        chosen = _for_recorded(estimator, baseline)
        if mask is not None:
            _refuse_pooling(chosen)
        draw, held = _recorded(dist, value, cost, mask)
        draw.pool = pool_of(session)
        term = chosen.gradient_term(draw, held)
        teach(chosen, draw, held)
        if session is not None and (state := list(chosen.state_dict().values())):
            session.pool.require_alike({chosen.name: state}, "Estimator")
    if term is None:
        return torch.zeros_like(cost)
    return term if mask is None else term.where(mask, 0.0)


def _shape_of_costs(dist: Distribution, value: Tensor, cost: Tensor) -> torch.Size:
    """Return the shape of one cost per draw, which the costs have to have."""
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
    base = unmasked(unwrapped(dist))
    event = len(base.event_shape)
    shape = value.shape[: value.dim() - event]
    if value.shape[value.dim() - event :] != base.event_shape or cost.shape != shape:
        raise ShapeError(
            f"pg.surrogate: values {tuple(value.shape)} with events of shape "
            f"{tuple(base.event_shape)} ask for costs of shape {tuple(shape)}; found "
            f"costs {tuple(cost.shape)}. One cost per recorded draw."
        )
    return shape


def _recorded(
    dist: Distribution, value: Tensor, cost: Tensor, mask: Tensor | None
) -> tuple[Draw, Tensor]:
    """Return the draws that count as a draw of one row, and their costs."""
    base, shape = unmasked(unwrapped(dist)), cost.shape
    try:
        expanded = expand(base, shape)
    except (RuntimeError, ValueError) as error:
        raise ShapeError(
            f"pg.surrogate: the distribution's batch shape {tuple(base.batch_shape)} "
            f"does not broadcast to that of the recorded draws, {tuple(shape)}."
        ) from error
    value, cost = value.detach(), real_cost(cost.detach(), "The recorded cost")
    if mask is not None:
        value = fill_masked(value, mask)
        cost = cost.where(mask, 0.0)
    require_finite(cost, "The recorded cost")
    draw = Draw.of_row(expanded, value)
    if len(shape) > 0:
        draw.particle_dim = -len(shape)
    require_finite(draw.log_prob, "The log-density of the recorded draws")
    return draw, cost.unsqueeze(0)


def _for_recorded(
    estimator: str | Estimator | type[Estimator],
    baseline: str | Tensor | nn.Module | None,
) -> Estimator:
    """Return the estimator of recorded draws.

    Raises:
        InputError: It is configured already, and there is a baseline as well.
        EstimatorError: It has to draw for itself.
    """
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
    if not chosen.traits.takes_recorded_draws:
        raise EstimatorError(
            f"Estimator {chosen.name!r} has to draw for itself, but pg.surrogate is "
            'given recorded draws. Write estimator="score_function", or '
            "pg.expectation and pg.ExpectedCost, which draw."
        )
    return chosen


def _given(baseline: Tensor, shape: torch.Size) -> Tensor:
    """Give a baseline the shape of the recorded draws.

    Raises:
        ShapeError: It does not broadcast to it.
    """
    try:
        return baseline.detach().expand(shape)
    except RuntimeError as error:
        raise ShapeError(
            f"pg.surrogate: the baseline has shape {tuple(baseline.shape)}, which does "
            f"not broadcast to that of the recorded draws, {tuple(shape)}."
        ) from error


def _refuse_pooling(estimator: Estimator) -> None:
    """Raise for baselines that would learn from draws that do not count."""
    baseline = getattr(estimator, "baseline", None)
    if not (baseline is None or isinstance(baseline, Given)):
        raise InputError(
            "pg.surrogate: a mask goes with a baseline that is a tensor, or with none: "
            f"{type(baseline).__name__} would take in the costs that are masked. Write "
            "baseline=pg.rl.leave_one_out(costs, groups, mask=mask), or a critic's "
            "values."
        )
