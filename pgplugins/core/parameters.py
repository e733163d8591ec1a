"""The tensors that parameterise a distribution, and the distribution rebuilt on others.

Per-row gradients need one copy of every parameter per row; a distribution whose
parameters were expanded and handed back gives them.
"""

from __future__ import annotations

import inspect
from functools import cache, singledispatch
from typing import Any, TypeVar

from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
    constraints,
)
from torch.distributions.utils import lazy_property

from pgplugins.errors import EstimatorError

_D = TypeVar("_D", bound=Distribution)

_SIMPLE = (bool, int, float, str)
# What handlers set after construction.
_OF_INSTANCES = frozenset({"_validate_args", "has_rsample", "has_enumerate_support"})


@singledispatch
def parameters_of(dist: Distribution) -> dict[str, Tensor]:
    """Name the tensors that ``dist`` was built from.

    Returns:
        Tensors of shape ``(*batch_shape, *parameter_event_shape)``, where batch
        dimensions that became event dimensions belong to the latter.

    Raises:
        EstimatorError: The distribution does not show its parameters.

    Example:
        >>> import torch
        >>> d = torch.distributions.Normal(torch.zeros(3), 1.0)
        >>> {k: tuple(v.shape) for k, v in parameters_of(d).items()}
        {'loc': (3,), 'scale': (3,)}
    """
    found = {name: getattr(dist, name) for name in _names(dist)}
    if not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise EstimatorError(
            f"{type(dist).__name__} does not show its parameters as tensors, so no "
            'gradient per row can be taken. Use estimator="reparameterized" or '
            '"score_function" for it.'
        )
    batch = len(dist.batch_shape)
    return {
        name: value.expand(dist.batch_shape + value.shape[batch:])
        if value.dim() >= batch
        else value.expand(dist.batch_shape)
        for name, value in found.items()
    }


@singledispatch
def with_parameters(dist: Distribution, values: dict[str, Tensor]) -> Distribution:
    """Rebuild ``dist`` on other parameters of the same names and shapes.

    Raises:
        EstimatorError: The distribution cannot be rebuilt from its parameters.

    Example:
        >>> import torch
        >>> d = torch.distributions.Normal(torch.zeros(3), 1.0)
        >>> with_parameters(d, {"loc": torch.ones(3), "scale": d.scale}).mean
        tensor([1., 1., 1.])
    """
    # Drawing may read what lies above a factor's diagonal, the density never does: the
    # path and the score would be gradients of different functions.
    values = {
        name: value.tril()
        if dist.arg_constraints.get(name) is constraints.lower_cholesky
        else value
        for name, value in values.items()
    }
    settings = _settings(dist, values)
    try:
        rebuilt = type(dist)(**values, **settings)  # type: ignore[arg-type]
    except (AssertionError, TypeError, ValueError) as error:
        raise EstimatorError(
            f"{type(dist).__name__} cannot be rebuilt from its parameters "
            f'{sorted(values)} ({error}). Use estimator="reparameterized" or '
            '"score_function" for it.'
        ) from error
    if rebuilt.batch_shape != dist.batch_shape:
        raise EstimatorError(
            f"{type(dist).__name__} rebuilt from its parameters has batch shape "
            f"{tuple(rebuilt.batch_shape)} instead of {tuple(dist.batch_shape)}. Use "
            'estimator="reparameterized" or "score_function" for it.'
        )
    _require_alike(rebuilt, dist)
    return rebuilt


def _require_alike(rebuilt: Distribution, dist: Distribution) -> None:
    """Raise if a constructor made another setting of an attribute than it was told.

    Raises:
        EstimatorError: Naming the attribute.
    """
    state = rebuilt.__dict__
    for name, value in dist.__dict__.items():
        if isinstance(value, _SIMPLE) and name not in _OF_INSTANCES:
            found = state.get(name, value)
            if isinstance(found, _SIMPLE) and found != value == value:  # no nan
                raise EstimatorError(
                    f"{type(dist).__name__} cannot be rebuilt from its parameters: its "
                    f"attribute {name!r} would be {found!r} instead of {value!r}. Keep "
                    "what the constructor is told in an attribute of the same name, or "
                    'use estimator="reparameterized" or "score_function" for it.'
                )


def _copy(dist: _D) -> _D:
    """Copy the attributes, which is all that a simple family's constructor sets."""
    rebuilt = dist.__new__(type(dist))
    rebuilt.__dict__.update(dist.__dict__)
    return rebuilt


def _names(dist: Distribution) -> list[str]:
    """Name the parameters that ``dist`` was built from, not those derived from them."""
    state = dist.__dict__
    built_from = state.get("_param")
    names = [
        name
        for name in dist.arg_constraints
        if f"_unbroadcasted_{name}" in state
        or (name in state and not _is_cached(dist, name, built_from))
    ]
    if "scale_tril" in names:  # whatever else was given, this is what is used
        names = [n for n in names if n not in ("covariance_matrix", "precision_matrix")]
    if "probs" in names and "logits" in names:
        # Families that do not say which they were built from: it was there first.
        names.remove(max("probs", "logits", key=list(state).index))
    if names:
        return names
    names = list(dist.arg_constraints)
    if "probs" in names and "logits" in names:
        names.remove("probs")
    return names


def _is_cached(dist: Distribution, name: str, built_from: object) -> bool:
    """Whether an attribute was computed from ``built_from`` when it was asked for."""
    if built_from is None or not isinstance(
        getattr(type(dist), name, None), lazy_property
    ):
        return False
    return dist.__dict__[name] is not built_from


def _settings(dist: Distribution, values: dict[str, Tensor]) -> dict[str, Any]:
    """Find what a constructor takes besides parameters, such as a temperature."""
    found: dict[str, Any] = {}
    for name, optional in _arguments(type(dist)):  # type: ignore[arg-type]
        if name == "validate_args":
            found[name] = False
        elif name not in values and not (optional and name in dist.arg_constraints):
            for attribute in (name, f"_{name}"):
                if hasattr(dist, attribute):
                    found[name] = getattr(dist, attribute)
                    break
            else:
                raise EstimatorError(
                    f"{type(dist).__name__} cannot be rebuilt from its parameters: "
                    f"nothing says what its constructor was told for {name!r}. Keep it "
                    "in an attribute of that name, or use "
                    'estimator="reparameterized" or "score_function" for it.'
                )
    return found


@cache
def _arguments(kind: type[Distribution]) -> tuple[tuple[str, bool], ...]:
    """Name what a constructor takes, and whether it may be left out."""
    return tuple(
        (name, wanted.default is not wanted.empty)
        for name, wanted in inspect.signature(kind).parameters.items()
        if wanted.kind in (wanted.POSITIONAL_OR_KEYWORD, wanted.KEYWORD_ONLY)
    )


@parameters_of.register(Independent)
def _(dist: Independent[Any]) -> dict[str, Tensor]:
    return parameters_of(dist.base_dist)


@with_parameters.register(Independent)
def _(dist: Independent[Any], values: dict[str, Tensor]) -> Distribution:
    rebuilt = _copy(dist)
    rebuilt.base_dist = with_parameters(dist.base_dist, values)
    rebuilt._validate_args = False  # Pyro's sets the base's
    return rebuilt


@parameters_of.register(Normal)
def _(dist: Normal) -> dict[str, Tensor]:
    # The general way spends more time on finding them than a small model on drawing.
    return {"loc": dist.loc, "scale": dist.scale}


@with_parameters.register(Normal)
def _(dist: Normal, values: dict[str, Tensor]) -> Distribution:
    if type(dist).__init__ is not Normal.__init__:
        return with_parameters.dispatch(Distribution)(dist, values)
    rebuilt = _copy(dist)
    rebuilt.loc, rebuilt.scale = values["loc"], values["scale"]
    rebuilt._validate_args = False
    return rebuilt


@parameters_of.register(MultivariateNormal)
def _(dist: MultivariateNormal) -> dict[str, Tensor]:
    # Whatever it was built from, it draws and scores through this factor.
    return {
        "loc": dist.loc,
        "scale_tril": dist._unbroadcasted_scale_tril.expand(
            dist.batch_shape + dist.event_shape + dist.event_shape
        ),
    }


def _keeps_parameters(dist: TransformedDistribution) -> bool:
    """Whether a family's transforms are made of its parameters, as Gumbel's are."""
    return any(name in dist.__dict__ for name in dist.arg_constraints)


@parameters_of.register(TransformedDistribution)
def _(dist: TransformedDistribution) -> dict[str, Tensor]:
    if _keeps_parameters(dist):
        return parameters_of.dispatch(Distribution)(dist)
    return parameters_of(dist.base_dist)


@with_parameters.register(TransformedDistribution)
def _(dist: TransformedDistribution, values: dict[str, Tensor]) -> Distribution:
    if _keeps_parameters(dist):
        return with_parameters.dispatch(Distribution)(dist, values)
    base = with_parameters(dist.base_dist, values)
    rebuilt = dist.__new__(type(dist))
    rebuilt.__dict__.update(dist.__dict__)
    TransformedDistribution.__init__(
        rebuilt, base, dist.transforms, validate_args=False
    )
    return rebuilt
