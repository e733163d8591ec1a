"""What is compared: estimators for all sites or by site, each under a label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from pgplugins.core.estimator import Estimator
from pgplugins.errors import InputError, InputTypeError
from pgplugins.infer.choice import EstimatorRules, Estimators
from pgplugins.plugins import estimator


def labelled(
    entries: Sequence[Estimators] | Mapping[str, Estimators],
    sites: Callable[[], Iterable[str]],
) -> list[tuple[str, EstimatorRules]]:
    """Look every estimator up before any is run.

    Args:
        entries: A list of entries, which are called by their estimators, or a mapping
            from labels to entries.
        sites: Returns the names of the objective's random sites.

    Returns:
        A label and the rules of each entry.

    Raises:
        InputError: There is no entry, or one is there twice, or the labels are sites.
        InputTypeError: An entry or a label is of a kind that cannot be used.
        UnknownEstimatorError: A name is not registered.

    Example:
        >>> pairs = labelled(["reinforce", {"z": "enumerate", "*": "hybrid"}], list)
        >>> [label for label, _ in pairs]
        ['score_function', 'z: enumerate, *: hybrid']
    """
    if isinstance(entries, str):
        raise InputError(
            f"compare: estimators={entries!r}: write a list, such as [{entries!r}]."
        )
    if not isinstance(entries, (Mapping, Sequence)):
        raise InputTypeError(
            f"compare: estimators={entries!r}: write a list of estimators, or a "
            "mapping from labels to estimators."
        )
    if not entries:
        raise InputError("compare: estimators is empty; name at least one.")
    if isinstance(entries, Mapping):
        _refuse_sites(entries, sites)
        return [(label, EstimatorRules(entry)) for label, entry in entries.items()]
    pairs = [(_label(entry), EstimatorRules(entry)) for entry in entries]
    labels = [label for label, _ in pairs]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise InputError(
            f"compare: {', '.join(twice)} stands in estimators more than once; write a "
            'mapping of labels, such as {"a": ..., "b": ...}.'
        )
    return pairs


def _refuse_sites(
    entries: Mapping[str, Estimators], sites: Callable[[], Iterable[str]]
) -> None:
    """Raise if the mapping is one entry, from sites to estimators."""
    strings = all(isinstance(label, str) for label in entries)
    if strings and not set(entries) <= set(sites()):
        return
    found = "site names" if strings else "not strings"
    raise (InputError if strings else InputTypeError)(
        f"compare: estimators={dict(entries)!r} maps labels to what is compared, but "
        f"its keys are {found}. To compare a choice by site, put it into a list, such "
        'as [{"z": "enumerate"}], or under a label.'
    )


def _label(entry: Estimators) -> str:
    if entry is None:
        return "default"
    if isinstance(entry, (str, Estimator, type)):
        return estimator(entry).name
    if isinstance(entry, Mapping):
        keys = (k if isinstance(k, str) else getattr(k, "__name__", k) for k in entry)
        names = (estimator(value).name for value in entry.values())
        return ", ".join(f"{k}: {n}" for k, n in zip(keys, names, strict=True))
    raise InputTypeError(
        f"compare: {entry!r} in the list of estimators has no name to be called by; "
        'write a mapping of labels, such as {"mine": ...}.'
    )
