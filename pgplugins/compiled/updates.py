"""The optimizer's part of a step: inside the graph where its rule is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro.optim import PyroOptim
from torch import Tensor
from torch.optim import Optimizer

from pgplugins.compiled.rules import Rule, rule_of
from pgplugins.compiled.state import Unsettled
from pgplugins.compiled.tracing import Write

_NO_STATE = object()


class Updates:
    """Steps of Pyro's optimizers for some parameters, on the optimizers' own state.

    Args:
        params: The parameters that have a gradient, each with its optimizer and rule.
    """

    def __init__(self, params: Sequence[tuple[Tensor, Optimizer, Rule]]) -> None:
        """Start from where the optimizers are."""
        self._own = [_Own(*part) for part in params]

    def writes(self, gradients: Sequence[Tensor]) -> list[Write]:
        """Return all tensors that a step changes, with their new values."""
        found: list[Write] = []
        for own, gradient in zip(self._own, gradients, strict=True):
            found += own.writes(gradient)
        return found

    def before(self) -> None:
        """Tell the graph the learning rates of the next step."""
        for own in self._own:
            own.before()

    def after(self, steps: int = 1) -> None:
        """Let the optimizers count steps that the graph has taken."""
        for own in self._own:
            own.after(steps)

    @property
    def current(self) -> bool:
        """Whether the optimizers have the state and settings that the graph has."""
        return all(own.is_current() for own in self._own)

    @property
    def decays(self) -> bool:
        """Whether a learning rate changes at every step."""
        return any(own.decay != 1.0 for own in self._own)


class _Own:
    """One parameter and what its optimizer knows of it."""

    def __init__(self, param: Tensor, optimizer: Optimizer, rule: Rule) -> None:
        (self.group,) = optimizer.param_groups
        self.param, self.optimizer, self.rule = param, optimizer, rule
        self.known: object = optimizer.state.get(param, _NO_STATE)
        self.state: dict[str, Any] = optimizer.state.get(param, {})
        self.rate = float(self.group["lr"])
        self.lr = torch.tensor(self.rate, dtype=torch.float64, device=param.device)
        count = self.state.get("step", 0)
        # Pyro's own optimizer counts in Python.
        self.counts = isinstance(count, int)
        self.step = (
            torch.tensor(float(count), dtype=torch.float64, device=param.device)
            if self.counts
            else count
        )
        self.taken = count
        self.decay = self.group.get("lrd", 1.0)
        self.settings = list(self.group.values())

    def writes(self, gradient: Tensor) -> list[Write]:
        step = self.step + 1
        names = self.rule.entries(self.group)
        state = {"step": step, **{name: self.state[name] for name in names}}
        param, new = self.rule.step(self.param, gradient, state, self.lr, self.group)
        return [
            (self.param, param),
            (self.step, step),
            *((self.state[name], value) for name, value in new.items()),
        ]

    def before(self) -> None:
        if self.decay != 1.0:
            self.group["lr"] *= self.decay
        if self.group["lr"] != self.rate:
            self.rate = self.group["lr"]
            self.lr.fill_(self.rate)
        if self.counts and self.state.get("step", self.taken) != self.taken:
            # Steps that were taken elsewhere count as well.
            self.taken = self.state["step"]
            self.step.fill_(self.taken)

    def after(self, steps: int) -> None:
        if self.counts and "step" in self.state:
            self.state["step"] += steps
            self.taken = self.state["step"]

    def is_current(self) -> bool:
        """Whether state and settings are those of the graph, the rate aside."""
        if self.optimizer.state.get(self.param, _NO_STATE) is not self.known:
            return False
        settings = list(self.group.values())
        if settings != self.settings:
            if {**self.group, "lr": 0.0} != {
                **dict(zip(self.group, self.settings, strict=True)),
                "lr": 0.0,
            }:
                return False
            self.settings = settings
        return True


def updates_of(optim: PyroOptim, params: Mapping[str, Tensor]) -> Updates | None:
    """Return the steps that the graph can take; ``None`` if the optimizer has to.

    Raises:
        Unsettled: An optimizer's first step is another one than all that follow.
    """
    if type(optim) is not PyroOptim:
        return None
    found = []
    for name, param in params.items():
        optimizer = _optimizer_of(optim, name, param)
        rule = rule_of(optimizer)
        if rule is None or optim.grad_clip.get(param) is not None:
            return None
        found.append((param, optimizer, rule))
    for param, optimizer, rule in found:
        if len(optimizer.state.get(param, ())) == 0:
            (group,) = optimizer.param_groups
            state = rule.start(param, group)
            if state is None:
                raise Unsettled("The optimizer has not taken its first step yet.")
            if state:
                optimizer.state[param].update(state)
    return Updates(found)


def _optimizer_of(optim: PyroOptim, name: str, param: Tensor) -> Any:
    """Return a parameter's own optimizer, made as Pyro makes it at its first step."""
    if param not in optim.optim_objs:
        optimizer = optim.optim_objs[param] = optim._get_optim(param)
        optim.grad_clip[param] = optim._get_grad_clip(param)  # type: ignore[arg-type]
        waiting = optim._state_waiting_to_be_consumed.pop(name, None)
        if waiting is not None:
            optimizer.load_state_dict(waiting)
    return optim.optim_objs[param]
