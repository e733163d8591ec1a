"""A linear-quadratic regulator: a policy gradient whose exact value is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pgplugins.diagnostics.comparison import compare
from pgplugins.diagnostics.result import Comparison
from pgplugins.infer.choice import EstimatorLike
from pgplugins.infer.cost import cost

ROLLOUTS = 32
RUNS = 300


@dataclass(frozen=True)
class Regulator:
    """Linear dynamics, quadratic costs, and a Gaussian policy around linear feedback.

    The policy is ``u ~ Normal(-K x, sigma)``, the dynamics are
    ``x' = A x + B u + noise``, the cost is ``x'Qx + u'Ru`` at every step and
    ``x'Q_f x`` at the end.

    Args:
        horizon: Number of actions ``T``.
        transition: ``A``, shape ``(n, n)``.
        control: ``B``, shape ``(n, m)``.
        state_cost: ``Q``, shape ``(n, n)``, symmetric.
        action_cost: ``R``, shape ``(m, m)``, symmetric.
        final_cost: ``Q_f``, shape ``(n, n)``, symmetric.
        initial_covariance: Covariance of the start, whose mean is zero.
        noise_covariance: Covariance of the noise.
    """

    horizon: int
    transition: Tensor
    control: Tensor
    state_cost: Tensor
    action_cost: Tensor
    final_cost: Tensor
    initial_covariance: Tensor
    noise_covariance: Tensor

    def exact_gradient(self, gain: Tensor, log_sigma: Tensor) -> dict[str, Tensor]:
        """Gradient of the expected cost by the Riccati recursion.

        With ``M = A - BK``, ``P_T = Q_f``, ``P_t = Q + K'RK + M'P_{t+1}M`` and the
        state's covariance ``S_t``, the gradient in ``K`` is
        ``2 sum_t [(R + B'P_{t+1}B) K - B'P_{t+1}A] S_t`` and the one in ``log sigma``
        ``2 sigma^2 sum_t tr(R + B'P_{t+1}B)`` (Fazel et al. 2018, lemma 1, for a finite
        horizon and a Gaussian policy).

        Args:
            gain: ``K``, shape ``(m, n)``.
            log_sigma: Shape ``()``.

        Returns:
            The gradients, named ``"gain"`` and ``"log_sigma"``.
        """
        k, variance = gain.detach(), (2 * log_sigma.detach()).exp()
        a, b = self.transition, self.control
        closed_loop = a - b @ k
        stage = self.state_cost + k.T @ self.action_cost @ k
        to_go = [self.final_cost]
        for _ in range(self.horizon - 1):
            to_go.append(stage + closed_loop.T @ to_go[-1] @ closed_loop)

        gain_gradient = torch.zeros_like(k)
        log_sigma_gradient = torch.zeros_like(variance)
        covariance = self.initial_covariance
        for p in reversed(to_go):
            curvature = self.action_cost + b.T @ p @ b
            gain_gradient += 2 * (curvature @ k - b.T @ p @ a) @ covariance
            log_sigma_gradient += 2 * variance * curvature.trace()
            covariance = (
                closed_loop @ covariance @ closed_loop.T
                + variance * b @ b.T
                + self.noise_covariance
            )
        return {"gain": gain_gradient, "log_sigma": log_sigma_gradient}

    def program(self, gain: Tensor, log_sigma: Tensor) -> Callable[[], None]:
        """A Pyro program that runs one rollout and states its costs.

        Under an objective with vectorised particles each particle is one rollout.
        """
        noise_scale = torch.linalg.cholesky(self.noise_covariance)
        rest = torch.zeros_like(self.transition[0])
        start = dist.MultivariateNormal(rest, self.initial_covariance)

        def rollout() -> None:
            x = pyro.sample("start", start)
            for t in range(self.horizon):
                policy = dist.Normal(-x @ gain.T, log_sigma.exp()).to_event(1)
                u = pyro.sample(f"force_{t}", policy)
                stage = _form(self.state_cost, x) + _form(self.action_cost, u)
                cost(f"cost_{t}", stage)
                noise = torch.randn_like(x) @ noise_scale.T
                x = x @ self.transition.T + u @ self.control.T + noise
            cost("final", _form(self.final_cost, x))

        return rollout


def _form(matrix: Tensor, vector: Tensor) -> Tensor:
    return ((vector @ matrix) * vector).sum(-1)


def cart() -> Regulator:
    """Bring a cart to rest: the state is (position, velocity), the action a force."""

    def matrix(*rows: list[float]) -> Tensor:
        return torch.tensor(rows, dtype=torch.float64)

    return Regulator(
        horizon=8,
        transition=matrix([1.0, 0.25], [0.0, 1.0]),
        control=matrix([0.03], [0.25]),
        state_cost=matrix([1.0, 0.0], [0.0, 0.5]),
        action_cost=matrix([0.1]),
        final_cost=matrix([2.0, 0.0], [0.0, 2.0]),
        initial_covariance=matrix([0.5, 0.1], [0.1, 0.4]),
        noise_covariance=matrix([0.02, 0.0], [0.0, 0.05]),
    )


def compare_on_lqr(estimators: Sequence[EstimatorLike], seed: int) -> Comparison:
    """Compare estimators of the policy gradient against the Riccati-exact one.

    Args:
        estimators: Names or instances.
        seed: Fixes every random number.

    Returns:
        The comparison, with 32 rollouts in each call.
    """
    regulator = cart()
    gain = torch.tensor([[0.5, 0.8]], dtype=torch.float64, requires_grad=True)
    log_sigma = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    return compare(
        regulator.program(gain, log_sigma),
        estimators,
        params={"gain": gain, "log_sigma": log_sigma},
        num_particles=ROLLOUTS,
        reference=regulator.exact_gradient(gain, log_sigma),
        num_runs=RUNS,
        seed=seed,
        name="policy gradient (LQR)",
    )
