"""One copy of an estimator per site, so that each holds the state of one."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterable, Iterator, Mapping

from torch import Tensor, nn

from pgplugins.core.circumstances import ChoosesRows
from pgplugins.core.estimator import Estimator
from pgplugins.errors import InputError
from pgplugins.infer.choice import Choice
from pgplugins.plugins.suggestion import did_you_mean


class BoundEstimators(nn.Module):
    """The estimators of an objective, by site; their state is in ``state_dict``."""

    def __init__(self) -> None:
        """Start with no sites."""
        super().__init__()
        self._keys: dict[str, Hashable] = {}
        # Kept alive, because their parts are told apart by identity.
        self._originals: dict[str, Estimator] = {}
        self._seen: dict[str, tuple[Hashable, Estimator, object]] = {}
        self._waiting: dict[str, dict[str, Tensor]] = {}

    def bind(self, site: str, choice: Choice) -> Estimator:
        """Return the site's own copy of the chosen estimator.

        The copy is kept for as long as the choice stays the same, so a program that
        makes a new instance at every run does not lose the state.
        """
        key = _configuration(choice.estimator)
        module = _module_name(site)
        if self._keys.get(site) != key:
            self._modules.pop(module, None)
            self._seen.pop(site, None)  # it would bring back the copy that goes
            copied = _own_copy(choice.estimator)
            copied.site = site
            self.add_module(module, copied)
            self._keys[site] = key
            self._originals[site] = choice.estimator
            self._restore_site(module)
        bound = self._modules[module]
        assert isinstance(bound, Estimator)
        return bound

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over a checkpoint, also for sites that are yet to be met."""
        self._waiting = {}
        for key, value in state.items():
            module, _, name = key.partition(".")
            self._waiting.setdefault(module, {})[name] = value
        for module in list(self._modules):
            self._restore_site(module)

    def _restore_site(self, module: str) -> None:
        state = self._waiting.pop(module, None)
        bound = self._modules[module]
        if state and bound is not None:
            bound.load_state_dict(state)

    def recall(self, site: str, circumstances: Hashable) -> Estimator | None:
        """Return the site's copy if it was bound under the same circumstances."""
        seen = self._seen.get(site)
        return seen[1] if seen is not None and seen[0] == circumstances else None

    def remember(
        self, site: str, circumstances: Hashable, bound: Estimator, asked: object
    ) -> None:
        """Note the circumstances under which a copy was bound.

        ``asked`` is kept alive, so that its identity in ``circumstances`` stays.
        """
        self._seen[site] = circumstances, bound, asked

    def of(self, site: str) -> Estimator:
        """Return the estimator of a site.

        Raises:
            InputError: The objective has met no random site of that name.
        """
        bound = self._modules.get(_module_name(site))
        if not isinstance(bound, Estimator):
            there_are = ", ".join(repr(n) for n in self._keys) or "none yet"
            raise InputError(
                f"No random site {site!r} has been met."
                f"{did_you_mean(site, self._keys)} Random sites so far: {there_are}."
            )
        return bound

    def choosing_rows(self) -> Iterator[ChoosesRows]:
        """Yield the sites' estimators whose rows are their own choice."""
        parts: Iterable[object] = self._modules.values()
        yield from (part for part in parts if isinstance(part, ChoosesRows))

    def sites(self) -> Iterator[tuple[str, Estimator]]:
        """Yield the sites that have been met, with their estimators."""
        for site in self._keys:
            bound = self._modules[_module_name(site)]
            assert isinstance(bound, Estimator)
            yield site, bound

    def trained(self) -> Iterator[tuple[str, Estimator]]:
        """Yield the sites whose estimators have parameters of their own."""
        for site, bound in self.sites():
            if _has_parameters(bound):
                yield site, bound


def _has_parameters(module: nn.Module | None) -> bool:
    # Asked at every step: the generators of nn.Module cost more than a small site.
    if module is None:
        return False
    for parameter in module._parameters.values():
        if parameter is not None:
            return True
    for part in module._modules.values():
        if _has_parameters(part):
            return True
    return False


def _module_name(site: str) -> str:
    # A colon keeps clear of a module's own attributes; a dot is not allowed.
    return "site:" + site.replace("%", "%25").replace(".", "%2E")


def _own_copy(estimator: Estimator) -> Estimator:
    """Copy an estimator's state; networks that the user gave it stay the user's."""
    return copy.deepcopy(estimator, {id(p): p for p in estimator.parameters()})


def _configuration(estimator: Estimator) -> Hashable:
    """What the constructor was told, as far as attributes show it."""
    parts: list[Hashable] = []
    for path, module in estimator.named_modules():
        simple = tuple(
            (k, v)
            for k, v in vars(module).items()
            if isinstance(v, (int, float, str, bool, tuple)) and k != "training"
        )
        given = tuple(
            (k, id(module._buffers[k])) for k in module._non_persistent_buffers_set
        ) + tuple((k, id(p)) for k, p in module.named_parameters(recurse=False))
        parts.append((path, type(module), simple, given))
    return tuple(parts)
