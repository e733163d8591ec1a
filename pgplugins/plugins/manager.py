"""Loading plugins: late, one by one, each on its own."""

from __future__ import annotations

import importlib
import inspect
import threading
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import pluggy

from pgplugins.core.estimator import Estimator
from pgplugins.core.problem import Problem
from pgplugins.errors import InputTypeError, PluginWarning, RegistrationError
from pgplugins.plugins import hookspecs
from pgplugins.plugins.catalogue import Catalogue
from pgplugins.plugins.discovery import Candidate, installed
from pgplugins.plugins.record import PluginRecord
from pgplugins.plugins.validation import described

BUILT_IN: Final = {
    hookspecs.PROJECT: "pgplugins.estimators",
    "pgplugins-selection": "pgplugins.selection",
}
"""The built-in plugins and their modules, in the order in which they register."""


class Manager:
    """Knows every plugin and what became of it.

    The built-in estimators come first and must load: what goes wrong there is raised.
    Whatever goes wrong in a third-party plugin stays in its record.
    """

    def __init__(self) -> None:
        """Load nothing yet."""
        self._catalogue = Catalogue()
        self._records: list[PluginRecord] = []
        self._problems: dict[str, Problem] = {}
        self._lock = threading.RLock()
        self._loaded_built_in = False
        self._started_installed = False
        self._pluggy = pluggy.PluginManager(hookspecs.PROJECT)
        self._pluggy.add_hookspecs(hookspecs)

    @property
    def catalogue(self) -> Catalogue:
        """The estimators of everything that is installed."""
        self._load()
        return self._catalogue

    @property
    def records(self) -> list[PluginRecord]:
        """Every plugin that was found, the built-in one first."""
        self._load()
        return list(self._records)

    @property
    def problems(self) -> list[Problem]:
        """The problems of every installed plugin."""
        self._load()
        return list(self._problems.values())

    def add(self, cls: type[Estimator], owner: str) -> None:
        """Add one class by hand. Loads the built-in estimators, but no plugin.

        A plugin's own module may call this while it is imported, so loading the
        plugins from here would find that module half made.
        """
        with self._lock:
            self._load_built_in()
            self._catalogue.add([cls], owner)

    def default_estimator(self, site: hookspecs.Site) -> str | Estimator | None:
        """Ask the plugins which estimator a site should have.

        Raises:
            InputTypeError: A plugin's answer is neither a name, an estimator nor None.
        """
        self._load()
        hook = self._pluggy.hook.pgplugins_default_estimator
        answer = hook(site=site)
        if answer is None or isinstance(answer, (str, Estimator)):
            return answer
        asked = ", ".join(impl.plugin_name for impl in hook.get_hookimpls())
        raise InputTypeError(
            f"pgplugins_default_estimator answered {answer!r} for site {site.name!r}; "
            "it must return an estimator's name, an estimator or None. "
            f"Plugins that were asked: {asked}."
        )

    def _load(self) -> None:
        with self._lock:
            self._load_built_in()
            if self._started_installed:
                return
            # Set first: a plugin that looks an estimator up during its own import must
            # not start all over again.
            self._started_installed = True
            fresh = [self._record(candidate) for candidate in installed()]
            self._records.extend(fresh)
        for record in fresh:
            if record.status == "failed":
                warnings.warn(
                    f"The plugin {record.name!r} ({record.distribution} "
                    f"{record.version}) was left out: {record.error}",
                    PluginWarning,
                    stacklevel=4,
                )

    def _load_built_in(self) -> None:
        if self._loaded_built_in:
            return
        names: tuple[str, ...] = ()
        for name, module in BUILT_IN.items():
            plugin = importlib.import_module(module)
            names += self._adopt(plugin, name, hookspecs.PROJECT)
        try:
            own_version = version(hookspecs.PROJECT)
        except PackageNotFoundError:
            own_version = "not installed"
        self._records.append(
            PluginRecord(
                hookspecs.PROJECT,
                hookspecs.PROJECT,
                own_version,
                "loaded",
                estimators=names,
            )
        )
        self._loaded_built_in = True

    def _record(self, candidate: Candidate) -> PluginRecord:
        about = (candidate.name, candidate.distribution, candidate.version)
        if candidate.switch is not None:
            return PluginRecord(*about, "disabled", error=f"by {candidate.switch}")
        try:
            plugin = candidate.entry_point.load()
            names = self._adopt(plugin, candidate.name, candidate.distribution)
        # A plugin may do anything while it is imported, leave the interpreter included.
        except (Exception, SystemExit) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            return PluginRecord(*about, "failed", error=reason)
        return PluginRecord(*about, "loaded", estimators=names)

    def _adopt(self, plugin: Any, name: str, owner: str) -> tuple[str, ...]:
        """Register a plugin's hooks and estimators; after an error, none of them."""
        if inspect.isclass(plugin):
            raise RegistrationError(
                f"The entry point leads to the class {described(plugin)}; let it lead "
                "to a module whose function pgplugins_register_estimators, marked "
                "@pgplugins.hookimpl, returns the estimator classes."
            )
        if self._pluggy.has_plugin(name):
            raise RegistrationError(
                f"{owner} names its entry point {name!r}, a name that another plugin "
                "has; rename one of them or disable one distribution."
            )
        try:
            self._pluggy.register(plugin, name)
            self._pluggy.check_pending()
            if not self._pluggy.get_hookcallers(plugin):
                raise RegistrationError(
                    f"{plugin!r} implements no hook; mark its functions "
                    f"@pgplugins.hookimpl. The hooks are {_hooks()}."
                )
            problems = self._offered_problems(plugin, owner)
            names = self._catalogue.add(self._offered(plugin), owner)
            self._problems.update(problems)
            return names
        except pluggy.PluginValidationError as error:
            self._forget(name)
            raise RegistrationError(f"{error}. The hooks are {_hooks()}.") from error
        except BaseException:
            self._forget(name)
            raise

    def _offered(self, plugin: Any) -> Iterator[object]:
        for offer in self._ask(plugin, "pgplugins_register_estimators"):
            if not isinstance(offer, (list, tuple)):
                raise RegistrationError(
                    "pgplugins_register_estimators must return a list of classes; "
                    f"it returned {offer!r}."
                )
            yield from offer

    def _offered_problems(self, plugin: Any, owner: str) -> dict[str, Problem]:
        fresh: dict[str, Problem] = {}
        for offer in self._ask(plugin, "pgplugins_register_problems"):
            if not isinstance(offer, (list, tuple)) or not all(
                isinstance(problem, Problem) for problem in offer
            ):
                raise RegistrationError(
                    "pgplugins_register_problems must return a list of "
                    f"pgplugins.testing.problems.Problem; it returned {offer!r}."
                )
            for problem in offer:
                if problem.name in self._problems or problem.name in fresh:
                    raise RegistrationError(
                        f"{owner} offers a problem {problem.name!r}, a name that "
                        "another problem has; give one of them another name."
                    )
                fresh[problem.name] = problem
        return fresh

    def _ask(self, plugin: Any, hook: str) -> list[Any]:
        """Call a hook of one plugin alone."""
        others = [p for p in self._pluggy.get_plugins() if p is not plugin]
        answers: list[Any] = self._pluggy.subset_hook_caller(hook, others)()
        return answers

    def _forget(self, name: str) -> None:
        if self._pluggy.has_plugin(name):
            self._pluggy.unregister(name=name)


def _hooks() -> str:
    specs = vars(hookspecs)
    return ", ".join(sorted(n for n in specs if n.startswith(f"{hookspecs.PROJECT}_")))
