"""Every public name is in the reference, with an example and all that goes with it.

What the tests leave out, and why:

- Attributes need a description and no example: they are data.
- A method needs no example of its own where its class's example uses it.
- ``cdf`` or ``expand`` of a distribution mean what they mean in torch, and so do the
  methods of a module: what is torch's is described there.
- ``SEAMS`` are public inside the library: other rooms of it call them, no user does.
- ``hookimpl`` is pluggy's; the hooks' examples use it.

That examples run is seen by ``python -m pytest --doctest-modules pgplugins``.
"""

import inspect
import re

import pytest
import torch

import pgplugins as pg
from pgplugins import distributed, errors
from pgplugins.plugins import estimator_class, hookspecs, overview
from tests.reference import (
    DOCS,
    annotated,
    attributes_of,
    classes_of_the_library,
    described,
    described_in_code,
    entries,
    examples,
    members_of,
    raised_by,
    sections,
    undefined_in,
)

ENTRIES = {entry.path: entry for entry in entries()}
CLASSES = {path: e.target for path, e in ENTRIES.items() if inspect.isclass(e.target)}
FUNCTIONS = {
    path: e.target for path, e in ENTRIES.items() if inspect.isfunction(e.target)
}
HOOKS = [name for name in vars(hookspecs) if name.startswith("pgplugins_")]
ESTIMATORS = {row.name: estimator_class(row.name) for row in overview()}
TORCHS = (torch.distributions.Distribution, torch.nn.Module)
MODULES = {
    "pgplugins": pg.__all__,
    "pgplugins.rl": pg.rl.__all__,
    "pgplugins.families": pg.families.__all__,
    "pgplugins.testing": pg.testing.__all__,
    "pgplugins.testing.problems": pg.testing.problems.__all__,
    "pgplugins.distributed": distributed.__all__,
    "pgplugins.plugins.hookspecs": ["Site", *HOOKS],
    "pgplugins.errors": [
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and name not in pg.__all__
    ],
}
PUBLIC = [f"{module}.{name}" for module, names in MODULES.items() for name in names]
SEAMS = {
    "ELBO": {"first_order_loss", "runs", "rules", "with_rules", "estimators_met"},
    "ExpectedCost": {"runs", "rules", "with_rules", "estimators_met"},
    "LintReport": {"add", "warn"},
    # How ranks share out particles is the objectives' business.
    "Pool": {"at", "estimate", "largest_share", "portion", "share", "turns"},
    "Traits": {"scores_to_any_order", "takes_recorded_draws"},
}
# Types of the library that a signature may name without an entry of their own.
NO_ENTRY = {
    # For rich to print.
    "ComparisonTable",
    "DetailTable",
    "ExplanationTable",
    # Between the fold, the fronts and the kit.
    "Credit",
    "Delegation",
    "Subject",
}


def documented_elsewhere(cls, name):
    """Whether a base class says it: one in the reference, or one of torch's."""
    return any(
        name in members_of(base) for base in CLASSES.values() if base in cls.__mro__[1:]
    ) or any(issubclass(cls, base) and hasattr(base, name) for base in TORCHS)


MEMBERS = {
    f"{path}.{name}": (cls, name, function)
    for path, cls in CLASSES.items()
    for name, function in members_of(cls).items()
    if name not in SEAMS.get(cls.__name__, ()) and not documented_elsewhere(cls, name)
}


def signatures():
    """Yield functions that are called by users, with whose docstring describes them."""
    yield from ((path, f, f) for path, f in FUNCTIONS.items())
    for path, cls in {**CLASSES, **ESTIMATORS}.items():
        start = inspect.getattr_static(cls, "__init__")
        if inspect.isfunction(start) and start.__module__.startswith("pgplugins"):
            yield path, start, cls
    yield from ((path, f, f) for path, (_, _, f) in MEMBERS.items())


SIGNATURES = {path: (function, doc) for path, function, doc in signatures()}


def doc_of(target):
    doc = inspect.getdoc(target)
    assert doc, f"{target} has no docstring"
    return doc


def parameters_of(function):
    found = inspect.signature(function).parameters
    return {name: p for name, p in found.items() if name not in ("self", "cls")}


def test_there_is_something_to_check():
    assert len(PUBLIC) > 80 and len(MEMBERS) > 60 and len(SIGNATURES) > 100
    assert "pgplugins.Draw.score_term" in MEMBERS
    assert "pgplugins.errors.FlatCostError" in CLASSES


@pytest.mark.parametrize("path", PUBLIC)
def test_a_public_name_has_its_entry(path):
    assert path in ENTRIES


@pytest.mark.parametrize("path", PUBLIC)
def test_the_page_of_the_reference_leads_to_a_public_name(path):
    page = (DOCS / "api.md").read_text()
    there = re.findall(r"(?::: |`~?)(pgplugins[\w.]+)", page)
    module = path.rpartition(".")[0]
    assert path in there or f".. automodule:: {module}\n" in page


@pytest.mark.parametrize("path", MEMBERS)
def test_a_public_member_is_shown(path):
    _, name, _ = MEMBERS[path]
    assert name in ENTRIES[path.rpartition(".")[0]].members


@pytest.mark.parametrize("path", [*FUNCTIONS, *CLASSES, *ESTIMATORS])
def test_a_name_has_an_example(path):
    assert examples(doc_of({**FUNCTIONS, **CLASSES, **ESTIMATORS}[path]))


@pytest.mark.parametrize("path", MEMBERS)
def test_a_member_is_in_an_example(path):
    cls, name, function = MEMBERS[path]
    called = examples(doc_of(cls))  # whatever is made there is called there
    used = re.search(rf"\.{name}\b|def {name}\b", called)
    assert used or examples(doc_of(function)) or (name == "__call__" and called)


@pytest.mark.parametrize("path", [*FUNCTIONS, *CLASSES, *ESTIMATORS, *MEMBERS])
def test_an_example_imports_what_it_uses(path):
    """But for the name that it shows."""
    targets = {**FUNCTIONS, **CLASSES, **ESTIMATORS}
    shown = targets[path] if path in targets else MEMBERS[path][0]
    documented = shown if path in targets else MEMBERS[path][2]
    missing = undefined_in(examples(doc_of(documented)))
    assert missing <= {shown.__name__}


@pytest.mark.parametrize("name", HOOKS)
def test_a_hooks_example_marks_it(name):
    assert f"@pg.hookimpl\ndef {name}(" in examples(doc_of(getattr(hookspecs, name)))


@pytest.mark.parametrize("name", [n for n in pg.families.__all__ if n[0].islower()])
def test_an_offer_of_families_is_in_their_example(name):
    assert f"pg.families.{name}." in examples(doc_of(pg.families))


@pytest.mark.parametrize("path", CLASSES)
def test_an_attribute_is_described(path):
    cls = CLASSES[path]
    told = {*described(doc_of(cls), "Args", "Attributes"), *described_in_code(cls)}
    shared = {"arg_constraints"}  # torch's
    assert set(attributes_of(cls)) - told - shared == set()


@pytest.mark.parametrize("path", SIGNATURES)
def test_arguments_are_described(path):
    function, documented = SIGNATURES[path]
    told = described(doc_of(documented), "Args", "Attributes")
    assert set(parameters_of(function)) - set(told) == set()


@pytest.mark.parametrize("path", [p for p in SIGNATURES if p not in CLASSES])
def test_what_is_returned_is_described(path):
    function, documented = SIGNATURES[path]
    doc = doc_of(documented)
    returns = inspect.signature(function).return_annotation
    is_property = path in MEMBERS and isinstance(
        inspect.getattr_static(*MEMBERS[path][:2]), property
    )
    if path not in ESTIMATORS and returns != "None" and not is_property:
        # A first line that says it all needs no section that repeats it.
        assert {"Returns", "Yields"} & set(sections(doc)) or doc.startswith("Return")


@pytest.mark.parametrize("path", SIGNATURES)
def test_an_error_is_described(path):
    function, documented = SIGNATURES[path]
    raised = raised_by(function, documented) - {"NotImplementedError"}
    assert raised <= set(described(doc_of(documented), "Raises"))


@pytest.mark.parametrize("path", SIGNATURES)
def test_a_tensors_shape_is_described(path):
    function, documented = SIGNATURES[path]
    told = described(doc_of(documented), "Args", "Attributes")
    says = re.compile(r"(?i)shape|scalar|broadcast|\bas for\b|likewise")
    for name, parameter in parameters_of(function).items():
        if parameter.annotation in ("Tensor", "Tensor | None"):
            assert says.search(told[name]), name
    if inspect.signature(function).return_annotation in ("Tensor", "Tensor | None"):
        doc = doc_of(documented)
        assert says.search(sections(doc).get("Returns", doc))


@pytest.mark.parametrize("path", SIGNATURES)
def test_a_type_in_a_signature_has_its_entry(path):
    function, _ = SIGNATURES[path]
    known = {cls.__name__ for cls in CLASSES.values()} | NO_ENTRY
    assert annotated(function) & classes_of_the_library() <= known
