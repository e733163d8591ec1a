"""Importance ratios against the policy that recorded the rollouts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from pgplugins.core.finite import require_finite
from pgplugins.core.masking import fill_masked, require_mask
from pgplugins.core.numbers import positive
from pgplugins.core.path import density
from pgplugins.distribution import unmasked, unwrapped
from pgplugins.errors import InputTypeError, ShapeError
from pgplugins.rl.recording import ends_of, require_steps


@dataclass(frozen=True)
class Ratios:
    """How much likelier actions are than under the policy that took them.

    Args:
        log: Logarithms of the ratios, shape ``(time, *batch)``, attached to the
            policy's parameters.
        unbiased: Whether a mean that is weighted with these is the mean under the new
            policy: not if they were limited.

    Example:
        Actions of a fair coin, weighted for one that shows heads three times in four:

        >>> import torch, pgplugins as pg
        >>> fair = torch.distributions.Bernoulli(torch.tensor(0.5))
        >>> new = torch.distributions.Bernoulli(torch.tensor(0.75))
        >>> actions = torch.tensor([1.0, 0.0])  # equally often
        >>> ratios = pg.rl.importance_ratios(new, actions, fair.log_prob(actions))
        >>> (ratios.value * actions).mean(), ratios.unbiased
        (tensor(0.7500), True)
    """

    log: Tensor
    unbiased: bool = True

    @property
    def value(self) -> Tensor:
        """The ratios, shape ``(time, *batch)``."""
        return self.log.exp()

    def so_far(
        self,
        *,
        terminated: Tensor | None = None,
        truncated: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Ratios:
        """Return the product of each episode's ratios up to and with each step.

        It weighs what has been earned at a step for all actions that led there, states
        included: the exact off-policy weight (Precup, Sutton and Singh 2000, there
        "per-decision"), whose variance grows with the steps.

        Args:
            terminated: As for :func:`pgplugins.rl.returns`.
            truncated: As for :func:`pgplugins.rl.returns`.
            mask: As for :func:`pgplugins.rl.returns`.

        Raises:
            InputError: An episode goes on into a masked step.
            InputTypeError: A flag is not a tensor of bool.
            ShapeError: The shapes differ.

        Example:
            >>> import torch
            >>> ratios = Ratios(torch.tensor([2.0, 3.0, 5.0]).log())
            >>> over = torch.tensor([False, True, False])
            >>> ratios.so_far(terminated=over).value
            tensor([2., 6., 5.])
        """
        flags = {"terminated": terminated, "truncated": truncated, "mask": mask}
        require_steps("Ratios.so_far", {"log": self.log, **flags})
        _, ended, live = ends_of("Ratios.so_far", self.log, terminated, truncated, mask)
        logs = self.log.where(live, 0.0)
        product, products = torch.zeros_like(logs[0]), []
        for t in range(len(logs)):
            product = product + logs[t]
            products.append(product)
            product = product.where(~ended[t], 0.0)
        return Ratios(torch.stack(products), self.unbiased)

    def at_most(self, limit: float) -> Ratios:
        """Return the ratios, none larger than ``limit``: less variance, **biased**.

        Truncated importance sampling (Ionides 2008).

        Args:
            limit: The largest ratio.

        Raises:
            InputError: The limit is not a positive number.

        Example:
            >>> import torch
            >>> limited = Ratios(torch.tensor([0.5, 8.0]).log()).at_most(2.0)
            >>> limited.value, limited.unbiased
            (tensor([0.5000, 2.0000]), False)
        """
        positive(limit, "limit")
        top = self.log.new_tensor(limit).log()
        return Ratios(self.log.minimum(top), unbiased=False)


def importance_ratios(
    dist: Distribution,
    value: Tensor,
    behaviour: Tensor,
    *,
    mask: Tensor | None = None,
) -> Ratios:
    """Return ``pi(a | s) / b(a | s)`` for recorded actions, step by step.

    The ratio of a step reweighs its action alone. The states were reached by the policy
    ``b``, and stay so: for rollouts of several steps weigh with :meth:`Ratios.so_far`,
    which is exact, or stay close to ``b``, as :func:`pgplugins.rl.clipped_surrogate`
    does.

    Args:
        dist: The policy at the recorded states, batch shape ``(time, *batch)``.
        value: The recorded actions, shape ``(time, *batch, *event)``; detached here.
        behaviour: Their log-densities under the policy that took them, recorded then,
            shape ``(time, *batch)``; detached here.
        mask: False at steps that do not count, shape ``(time, *batch)``, bool; whatever
            they hold is ignored, and their ratio is one.

    Raises:
        InputError: The mask leaves no step.
        InputTypeError: An argument is of another kind.
        ShapeError: The shapes do not agree.
        NotFiniteError: A log-density that counts is not finite.
        EstimatorError: The policy has no density.

    Example:
        >>> import torch
        >>> old = torch.distributions.Bernoulli(torch.tensor([0.5, 0.5]))
        >>> new = torch.distributions.Bernoulli(torch.tensor([0.75, 0.75]))
        >>> actions = torch.tensor([1.0, 0.0])
        >>> importance_ratios(new, actions, old.log_prob(actions)).value
        tensor([1.5000, 0.5000])
    """
    for name, given, kind in (
        ("dist", dist, Distribution),
        ("value", value, Tensor),
        ("behaviour", behaviour, Tensor),
    ):
        if not isinstance(given, kind):
            raise InputTypeError(
                f"pg.rl.importance_ratios: {name} is a {type(given).__name__}; it must "
                f"be a {kind.__name__}."
            )
    base = unmasked(unwrapped(dist))
    event = len(base.event_shape)
    shape = value.shape[: value.dim() - event]
    if value.shape[value.dim() - event :] != base.event_shape or (
        behaviour.shape != shape
    ):
        raise ShapeError(
            f"pg.rl.importance_ratios: actions {tuple(value.shape)} with events of "
            f"shape {tuple(base.event_shape)} ask for log-densities of shape "
            f"{tuple(shape)}; found {tuple(behaviour.shape)}. One per recorded action."
        )
    actions, before = value.detach(), behaviour.detach()
    if mask is not None:
        require_mask(mask, shape, "pg.rl.importance_ratios")
        actions = fill_masked(actions, mask)
        before = before.where(mask, 0.0)
    now = density(base, actions)
    if now.shape != shape:
        raise ShapeError(
            f"pg.rl.importance_ratios: the policy's batch shape "
            f"{tuple(base.batch_shape)} does not broadcast to that of the recorded "
            f"actions, {tuple(shape)}."
        )
    if mask is not None:
        now = now.where(mask, 0.0)
    require_finite(before, "The recorded log-density")
    require_finite(now, "The log-density of the recorded actions")
    return Ratios(now - before)
