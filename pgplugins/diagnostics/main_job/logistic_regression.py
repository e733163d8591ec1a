"""Bayesian logistic regression on the breast-cancer data, midway through training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor

from pgplugins.diagnostics.comparison import compare
from pgplugins.diagnostics.result import Comparison
from pgplugins.infer.choice import EstimatorLike
from pgplugins.infer.elbo import ELBO

PARTICLES = 16
STEPS = 150
RUNS = 600
WARMUP = 200


def load_data() -> tuple[Tensor, Tensor]:
    """Scikit-learn's breast-cancer data: 569 tumours, benign (1) or malignant (0).

    Returns:
        Standardised features with a column of ones, shape ``(569, 31)``, and labels,
        shape ``(569,)``; both float64.
    """
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    raw = torch.as_tensor(data.data)
    features = (raw - raw.mean(0)) / raw.std(0, correction=0)
    ones = torch.ones(len(features), 1, dtype=features.dtype)
    return torch.cat([features, ones], 1), torch.as_tensor(data.target).to(features)


def model_and_guide(
    features: Tensor, labels: Tensor
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Standard normal prior on the weights, mean-field normal guide."""
    size = features.shape[1]
    zeros = torch.zeros(size, dtype=features.dtype)

    def model() -> None:
        weights = pyro.sample("weights", dist.Normal(zeros, 1.0).to_event(1))
        logits = weights @ features.T
        # A vectorised particle stands where the plate of the data has a 1.
        logits = logits.squeeze(-2) if logits.dim() > 1 else logits
        with pyro.plate("data", len(features)):
            pyro.sample("label", dist.Bernoulli(logits=logits), obs=labels)

    def guide() -> None:
        loc = pyro.param("loc", zeros.clone())
        scale = pyro.param("scale", zeros + 0.37, constraint=constraints.positive)
        pyro.sample("weights", dist.Normal(loc, scale).to_event(1))

    return model, guide


def exact_gradient(
    features: Tensor, labels: Tensor, loc: Tensor, log_scale: Tensor
) -> dict[str, Tensor]:
    """Gradient of the negative ELBO, by quadrature.

    A logit is normal under the guide, so each expected log-likelihood is an integral
    over the line. The trapezoidal rule converges exponentially there (Trefethen and
    Weideman 2014, theorem 5.1): with these nodes to rounding.

    Args:
        features: Shape ``(n, d)``.
        labels: Shape ``(n,)``, zeros and ones.
        loc: The guide's means, shape ``(d,)``.
        log_scale: Logarithms of its standard deviations, shape ``(d,)``.

    Returns:
        The gradients, named ``"loc"`` and ``"scale"``; the latter is the one for
        ``log_scale``, as Pyro's store has it.
    """
    loc = loc.detach().requires_grad_()
    log_scale = log_scale.detach().requires_grad_()
    nodes = torch.linspace(-9.0, 9.0, 361, dtype=features.dtype)
    weights = torch.softmax(-(nodes**2) / 2, 0)
    variance = (2 * log_scale).exp()
    spread = (features**2 @ variance).sqrt()
    logits = (features @ loc).unsqueeze(-1) + spread.unsqueeze(-1) * nodes
    # log(1 + exp(-x)) for a 1, log(1 + exp(x)) for a 0.
    signs = (1 - 2 * labels).unsqueeze(-1)
    loss = (torch.nn.functional.softplus(signs * logits) @ weights).sum()
    divergence = ((variance + loc**2) / 2 - log_scale).sum()
    found = torch.autograd.grad(loss + divergence, (loc, log_scale))
    return dict(zip(("loc", "scale"), found, strict=True))


def compare_on_logistic_regression(
    estimators: Sequence[EstimatorLike], seed: int
) -> Comparison:
    """Compare estimators of the ELBO's gradient at a point on the way to the optimum.

    The parameters are taken there by Adam; Pyro's parameter store is left as it was.

    Args:
        estimators: Names or instances.
        seed: Fixes every random number.

    Returns:
        The comparison, with 16 particles in each call.
    """
    data = load_data()
    model, guide = model_and_guide(*data)
    elbo = ELBO(num_particles=PARTICLES, vectorize_particles=True, max_plate_nesting=1)
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        torch.manual_seed(seed)
        guide()
        parameters = dict(pyro.get_param_store().named_parameters())
        optimizer = torch.optim.Adam(parameters.values(), lr=0.02)
        for _ in range(STEPS):
            optimizer.zero_grad()
            elbo.differentiable_loss(model, guide).backward()
            optimizer.step()
        return compare(
            (model, guide, ()),
            estimators,
            params=parameters,
            elbo=elbo,
            reference=exact_gradient(*data, parameters["loc"], parameters["scale"]),
            num_runs=RUNS,
            num_warmup=WARMUP,
            seed=seed,
            name="ELBO (logistic regression)",
        )
