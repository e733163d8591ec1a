"""The reference: what the pages of docs/ take from docstrings, and what those say."""

import ast
import builtins
import functools
import importlib
import inspect
import itertools
import pkgutil
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pgplugins

DOCS = Path(__file__).parents[1] / "docs"
ENTRY = re.compile(
    r"^\.\. (?:auto|py:)(\w+):: (pgplugins[\w.]*)\n((?:   :.*\n)*)", re.MULTILINE
)


@dataclass(frozen=True)
class Entry:
    """A directive of a page, and the object that it documents."""

    kind: str
    path: str
    options: str

    @functools.cached_property
    def target(self):
        return resolve(self.path)

    @property
    def members(self):
        """The members that the page shows: all of the object's own if it names none."""
        found = re.search(r":members:(.*)", self.options)
        if found is None:
            return []
        named = [name.strip() for name in found[1].split(",") if name.strip()]
        left_out = re.search(r":exclude-members:(.*)", self.options)
        return named or [
            name
            for name, value in vars(self.target).items()
            if not name.startswith("_")
            and getattr(value, "__module__", "pgplugins").startswith("pgplugins")
            and not (left_out and name in left_out[1])
        ]


def resolve(path):
    """Return the object at a dotted path."""
    module, _, rest = path, "", []
    while True:
        try:
            target = importlib.import_module(module)
            break
        except ModuleNotFoundError:
            module, _, name = module.rpartition(".")
            rest = [name, *rest]
    for name in rest:
        target = getattr(target, name)
    return target


def entries():
    """Return the entries of all pages, those of a module's members among them."""
    found = []
    for page in sorted(DOCS.glob("*.md")):
        for kind, path, options in ENTRY.findall(page.read_text()):
            entry = Entry(kind, path, options)
            found.append(entry)
            if kind == "module":
                found += [
                    Entry("class", f"{path}.{name}", "") for name in entry.members
                ]
    return found


def members_of(cls):
    """Return the public functions and properties of a class, as its users have them."""
    found = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("pgplugins"):
            for name, value in vars(base).items():
                if name == "__call__" or not name.startswith("_"):
                    function = function_of(value)
                    if function is not None:
                        found[name] = function
    return found


def function_of(member):
    """Return the function under a property or a class method; ``None`` for a value."""
    if isinstance(member, (classmethod, staticmethod)):
        member = member.__func__
    if isinstance(member, property):
        member = member.fget
    return member if inspect.isfunction(member) else None


def attributes_of(cls):
    """Return the public attributes of instances: fields, and what __init__ sets."""
    names = list(vars(cls).get("__annotations__", {}))
    start = vars(cls).get("__init__")
    if inspect.isfunction(start) and start.__code__.co_filename != "<string>":
        tree = ast.parse(textwrap.dedent(inspect.getsource(start)))
        names += [
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        ]
    return [name for name in dict.fromkeys(names) if not name.startswith("_")]


def described_in_code(cls):
    """Return the attributes that a string below their assignment describes."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            continue
        for first, then in itertools.pairwise(node.body):
            if isinstance(first, (ast.AnnAssign, ast.Assign)) and (
                isinstance(then, ast.Expr) and isinstance(then.value, ast.Constant)
            ):
                target = getattr(first, "target", None) or first.targets[0]
                found.add(getattr(target, "attr", getattr(target, "id", None)))
    return found


def sections(doc):
    """Return the text of each section of a docstring, by its heading."""
    parts = re.split(
        r"^(Args|Attributes|Returns|Yields|Raises|Example):\n", doc, flags=re.M
    )
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def described(doc, *headings):
    """Return the names that sections describe, with what they say."""
    text = "".join(sections(doc).get(heading, "") for heading in headings)
    found = re.split(r"^    \*{0,2}([\w.]+):", text, flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


def examples(doc):
    """Return the lines of code in a docstring's examples."""
    lines = re.findall(r"^\s*(?:>>>|\.\.\.) ?(.*)$", doc, re.MULTILINE)
    return "\n".join(lines)


def undefined_in(code):
    """Return the names that code uses and does not define."""
    nodes = list(ast.walk(ast.parse(code)))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    defined = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            defined |= {a.asname or a.name.split(".")[0] for a in node.names}
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.ExceptHandler)):
            defined.add(node.name)
        elif isinstance(node, ast.arg):
            defined.add(node.arg)
    used = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    return used - defined - set(dir(builtins))


def raised_by(function, owner):
    """Return the names of the errors that a function's own code raises.

    A data class checks its fields in a method of its own.
    """
    if function.__code__.co_filename == "<string>":
        function = vars(owner).get("__post_init__")
        if function is None:
            return set()
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return {
        node.exc.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
    }


def annotated(function):
    """Return the identifiers in a signature's annotations."""
    signature = inspect.signature(function)
    written = [p.annotation for p in signature.parameters.values()]
    written.append(signature.return_annotation)
    return set(re.findall(r"\w+", " ".join(map(str, written))))


@functools.cache
def classes_of_the_library():
    """Return the names of the public classes that the package defines."""
    found = set()
    for module in pkgutil.walk_packages(pgplugins.__path__, "pgplugins."):
        if not module.name.endswith("__main__"):
            for name, value in vars(importlib.import_module(module.name)).items():
                if inspect.isclass(value) and value.__module__ == module.name:
                    found.add(name)
    return frozenset(name for name in found if not name.startswith("_"))
