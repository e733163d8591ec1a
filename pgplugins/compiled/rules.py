"""What optimizers do to one parameter, as operations on tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from pyro.optim.clipped_adam import ClippedAdam
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

Group = Mapping[str, Any]
State = dict[str, Tensor]


class Rule(ABC):
    """One step of an optimizer for one parameter.

    The state is the optimizer's own, so that its ``state_dict`` holds it.
    """

    @abstractmethod
    def start(self, p: Tensor, group: Group) -> dict[str, Any] | None:
        """Return the state before the first step, as the optimizer makes it.

        ``None`` if only a first step of its own can make it.
        """

    @abstractmethod
    def entries(self, group: Group) -> tuple[str, ...]:
        """Return the names of the optimizer's tensors for a parameter."""

    @abstractmethod
    def step(
        self, p: Tensor, g: Tensor, state: State, lr: Tensor, group: Group
    ) -> tuple[Tensor, State]:
        """Return the new value of a parameter, and the new state.

        Args:
            p: The parameter.
            g: Its gradient.
            state: The tensors that :meth:`entries` names, and as ``"step"`` the number
                of this step, beginning with one.
            lr: The learning rate of this step, a scalar in double precision.
            group: The optimizer's settings.
        """


class _Adam(Rule):
    """Kingma and Ba 2015, algorithm 1; with ``amsgrad`` Reddi et al. 2018."""

    def start(self, p: Tensor, group: Group) -> dict[str, Any] | None:
        double = torch.get_default_dtype() == torch.float64
        step = torch.tensor(0.0, dtype=torch.float64 if double else torch.float32)
        names = self.entries(group)
        return {"step": step, **{name: torch.zeros_like(p.data) for name in names}}

    def entries(self, group: Group) -> tuple[str, ...]:
        extra = ("max_exp_avg_sq",) if group["amsgrad"] else ()
        return ("exp_avg", "exp_avg_sq", *extra)

    def step(
        self, p: Tensor, g: Tensor, state: State, lr: Tensor, group: Group
    ) -> tuple[Tensor, State]:
        if group["maximize"]:
            g = -g
        decay = group["weight_decay"]
        if decay != 0:
            if group.get("decoupled_weight_decay", False):
                p = p * (1 - lr * decay).to(p)
            else:
                g = g + decay * p
        beta1, beta2 = group["betas"]
        mean = state["exp_avg"].lerp(g, 1 - beta1)
        square = state["exp_avg_sq"] * beta2 + (1 - beta2) * g * g
        new = {"exp_avg": mean, "exp_avg_sq": square}
        largest = square
        if group["amsgrad"]:
            largest = torch.maximum(state["max_exp_avg_sq"], square)
            new["max_exp_avg_sq"] = largest
        size, root = _corrections(lr, state["step"], beta1, beta2)
        denominator = largest.sqrt() / root.to(p) + group["eps"]
        return p - size.to(p) * mean / denominator, new


class _AdamW(_Adam):
    """Loshchilov and Hutter 2019, algorithm 2: weight decay apart from the gradient."""

    def step(
        self, p: Tensor, g: Tensor, state: State, lr: Tensor, group: Group
    ) -> tuple[Tensor, State]:
        return super().step(p, g, state, lr, {**group, "decoupled_weight_decay": True})


class _ClippedAdam(Rule):
    """Pyro's: gradients clamped, a learning rate that decays by itself."""

    def start(self, p: Tensor, group: Group) -> dict[str, Any] | None:
        return {
            "step": 0,
            **{name: torch.zeros_like(p.data) for name in self.entries(group)},
        }

    def entries(self, group: Group) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def step(
        self, p: Tensor, g: Tensor, state: State, lr: Tensor, group: Group
    ) -> tuple[Tensor, State]:
        g = g.clamp(-group["clip_norm"], group["clip_norm"])
        if group["weight_decay"] != 0:
            g = g + group["weight_decay"] * p
        beta1, beta2 = group["betas"]
        mean = state["exp_avg"] * beta1 + (1 - beta1) * g
        rest = g - mean if group["centered_variance"] else g
        square = state["exp_avg_sq"] * beta2 + (1 - beta2) * rest * rest
        size, root = _corrections(lr, state["step"], beta1, beta2)
        size = (size * root).to(p)
        new = {"exp_avg": mean, "exp_avg_sq": square}
        return p - size * mean / (square.sqrt() + group["eps"]), new


class _SGD(Rule):
    """Stochastic gradient descent, with momentum and Nesterov's."""

    def start(self, p: Tensor, group: Group) -> dict[str, Any] | None:
        if group["momentum"] == 0:
            return {}
        if group["dampening"] != 0:
            return None  # the first step is not damped
        return {"momentum_buffer": torch.zeros_like(p.data)}

    def entries(self, group: Group) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] != 0 else ()

    def step(
        self, p: Tensor, g: Tensor, state: State, lr: Tensor, group: Group
    ) -> tuple[Tensor, State]:
        if group["maximize"]:
            g = -g
        if group["weight_decay"] != 0:
            g = g + group["weight_decay"] * p
        momentum, new = group["momentum"], {}
        if momentum != 0:
            kept = momentum * state["momentum_buffer"] + (1 - group["dampening"]) * g
            new["momentum_buffer"] = kept
            g = g + momentum * kept if group["nesterov"] else kept
        return p - lr.to(p) * g, new


def _corrections(
    lr: Tensor, step: Tensor, beta1: float, beta2: float
) -> tuple[Tensor, Tensor]:
    """Return the step size and the root of the second moment's correction."""
    count = step.double()
    return lr / (1 - beta1**count), (1 - beta2**count).sqrt()


_RULES: dict[type[Optimizer], Rule] = {
    Adam: _Adam(),
    AdamW: _AdamW(),
    ClippedAdam: _ClippedAdam(),
    SGD: _SGD(),
}


def rule_of(optimizer: object) -> Rule | None:
    """Return the rule of an optimizer, ``None`` if there is none for its settings.

    Example:
        >>> x = torch.zeros(2, requires_grad=True)
        >>> rule_of(SGD([x], lr=0.1)).entries({"momentum": 0.9})
        ('momentum_buffer',)
        >>> rule_of(torch.optim.Rprop([x]))
    """
    rule = _RULES.get(type(optimizer))  # type: ignore[arg-type]
    if rule is None:
        return None
    (group,) = optimizer.param_groups  # type: ignore[attr-defined]
    plain = not any(group.get(k) for k in ("capturable", "differentiable", "fused"))
    return rule if plain and not isinstance(group["lr"], Tensor) else None
